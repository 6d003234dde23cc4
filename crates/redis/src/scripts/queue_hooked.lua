-- Notes how telling a webhook went.
-- KEYS: the queue's own, then the hash of its task. ARGV: the id, and the delay until it is tried again (ms; -1: never).
-- Returns how often it was tried.
local id, delay = ARGV[1], tonumber(ARGV[2])
if delay < 0 then
  redis.call('ZREM', KEYS[7], id)
  redis.call('HDEL', KEYS[10], 'result')
  return 0
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[7], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + delay, id)
if redis.call('EXISTS', KEYS[10]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[10], 'hook_tries', 1)
