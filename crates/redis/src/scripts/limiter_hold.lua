
-- Stops a bucket for everybody: the server said no to one of us.
--
-- ARGV[2] packed: for how long, the learned limits of requests, tokens and requests a day (0: none), for how long the first
--         two hold (the third: this day), 1 when all who listen are told
local reply = {LOST, raw, epoch, prev, since}
if not lost then
  local length, rpm, tpm, rpd, learned, urgent = unpack_at('<dddddd', ARGV[2])
  hold = max(hold, now + length)
  if learned > 0 then lrpm, ltpm, luntil = rpm, tpm, now + learned end
  if rpd > 0 then lrpd = rpd end
  seq = seq + 1
  -- Who may not publish is heard with the next call of the others.
  if urgent == 1 then redis.pcall('PUBLISH', 'tidegate:quota:news', K) end
  reply = {OK, raw, epoch, seq, hold - now}
end
