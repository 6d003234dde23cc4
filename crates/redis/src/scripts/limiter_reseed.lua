-- Takes in what one process remembers after the state was lost, or begins a new life after the clock jumped.
--
-- ARGV[2] packed: 1 when the clock jumped, requests of today as last seen, the end of that day
-- ARGV[3] packed, 4 numbers each: slot, requests, tokens, risk
local jumped, seen, seen_end = struct.unpack('<ddd', ARGV[2])
if jumped == 1 and epoch_seen == epoch then
  local held = math.max(hold - last, 0)
  last, now, tau = raw, raw, raw
  nr, nt, nk, tat_r, tat_t, low = 0, 0, 0, 0, 0, 0
  redis.call('SET', K_RING, string.rep('\0', SLOT * N))
  renewed = true
  head = math.floor((raw - span) / S)
  top = head - 1
  hold = raw + held
  begin(0)
end
advance(math.max(now, tau))
for at = 1, #ARGV[3], 32 do
  local i, r, t, k = struct.unpack('<dddd', ARGV[3], at)
  change(i, r, t, k)
end
if dend == 0 and seen_end > 0 then
  dend, renewed = seen_end, true
  day_start = seen_end - (next_end - day_end)
end
if seen_end == dend and seen > base then
  today = today + seen - base
  base = seen
end
seq = seq + 1
save()
return {OK, raw, epoch, seq}
