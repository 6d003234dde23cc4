-- Stops a bucket for everybody: the server said no to one of us.
--
-- ARGV[2] packed: for how long, the learned limits of requests and tokens (0: none), for how long those hold
local for_ms, rpm, tpm, learned_ms = struct.unpack('<dddd', ARGV[2])
if epoch_seen ~= 0 and epoch_seen ~= epoch then
  save()
  return {LOST, raw, epoch, prev, since}
end
hold = math.max(hold, now + for_ms)
if learned_ms > 0 then lrpm, ltpm, luntil = rpm, tpm, now + learned_ms end
seq = seq + 1
save()
return {OK, raw, epoch, seq, hold - now}
