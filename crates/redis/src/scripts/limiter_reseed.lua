
-- Takes in what one process remembers after the state was lost, or begins a new life after the clock jumped.
--
-- ARGV[2] packed: 1 when the clock jumped, requests of today as last seen, the end of that day, requests of the
--         machine on the caller's day
-- KEYS[2] machines that told what they sent on a day before they came here, each with the life it was told in
-- ARGV[3] packed, 4 numbers each: slot, requests, tokens, risk
-- ARGV[4] the machine ('' says nothing)
local jumped, seen, seen_end, sent = unpack_at('<dddd', ARGV[2])
if jumped == 1 and epoch_seen == epoch then
  hold, listening = raw + max(hold - last, 0), raw + learning
  last, now, tau, head = raw, raw, raw, floor((raw - span) / S)
  top, nr, nt, nk, tat_r, tat_t, low = head - 1, 0, 0, 0, 0, 0, 0
  call('SETRANGE', K, BASE, string.rep('\0', SLOT * N))
  count, cs = 0, -1
  prev, since, base, machines = epoch, 0, today, 0
  epoch = epoch + 1
end
for at = 1, #ARGV[3], 32 do
  local i, r, t, k = unpack_at('<dddd', ARGV[3], at)
  change(i, r, t, k)
end
if seen_end > dend and seen_end - dend < (next_end - day_end) / 2 then dend, renewed = seen_end, true end
-- What all have seen and what each machine has written down tell of the same requests: the larger counts.
if ARGV[4] ~= '' then
  local life = string.format('%d', epoch)
  if call('HGET', KEYS[2], ARGV[4]) ~= life then
    call('HSET', KEYS[2], ARGV[4], life)
    call('PEXPIREAT', KEYS[2], max(dend, raw) + 93600000)
    machines = machines + sent
    if machines > base then today, base = today + machines - base, machines end
  end
end
if seen_end == dend and seen > base then
  today, base = today + seen - base, seen
end
seq = seq + 1
local reply = {OK, raw, epoch, seq}
