
call('SETRANGE', K, 0, pack(FORMAT, S, N, span, last, tau, head, top, nr, nt, nk, tat_r, tat_t, low, before, today,
  after, day_start, dend, base, epoch, prev, since, seq, hold, lrpm, ltpm, luntil, live, facts, fresh, cs, cr, ct, ck,
  listening, told, lrpd, machines))
if renewed then call('PEXPIREAT', K, max(dend, raw) + 93600000) end
return reply
