
-- Takes in what one process remembers after the state was lost, or begins a new life after the clock jumped.
--
-- ARGV[2] packed: 1 when the clock jumped, requests of today as last seen, the end of that day
-- ARGV[3] packed, 4 numbers each: slot, requests, tokens, risk
local jumped, seen, seen_end = unpack_at('<ddd', ARGV[2])
if jumped == 1 and epoch_seen == epoch then
  hold, listening = raw + max(hold - last, 0), raw + learning
  last, now, tau, head = raw, raw, raw, floor((raw - span) / S)
  top, nr, nt, nk, tat_r, tat_t, low = head - 1, 0, 0, 0, 0, 0, 0
  call('SETRANGE', K, BASE, string.rep('\0', SLOT * N))
  count, cs = 0, -1
  prev, since, base = epoch, 0, today
  epoch = epoch + 1
end
for at = 1, #ARGV[3], 32 do
  local i, r, t, k = unpack_at('<dddd', ARGV[3], at)
  change(i, r, t, k)
end
if dend == 0 and seen_end > 0 then
  dend, day_start, renewed = seen_end, seen_end - (next_end - day_end), true
end
if seen_end == dend and seen > base then
  today, base = today + seen - base, seen
end
seq = seq + 1
local reply = {OK, raw, epoch, seq}
