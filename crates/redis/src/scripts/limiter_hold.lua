
-- Stops a bucket for everybody: the server said no to one of us.
--
-- ARGV[2] packed: for how long, the learned limits of requests and tokens (0: none), for how long those hold
local reply = {LOST, raw, epoch, prev, since}
if not lost then
  local length, rpm, tpm, learned = unpack_at('<dddd', ARGV[2])
  hold = max(hold, now + length)
  if learned > 0 then lrpm, ltpm, luntil = rpm, tpm, now + learned end
  seq = seq + 1
  reply = {OK, raw, epoch, seq, hold - now}
end
