-- Gives webhooks that are due to a worker, which has them to itself for a while.
-- KEYS: the queue's own. ARGV: how long (ms), how many at most. Returns the ids of their tasks.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGE', KEYS[7], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do redis.call('ZADD', KEYS[7], now + tonumber(ARGV[1]), id) end
return due
