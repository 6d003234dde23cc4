-- Notes that a worker lives, and when it said so.
-- KEYS: the queue's own. ARGV: the worker, what it tells of itself, how long the notes stay without another (ms).
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[9], ARGV[1], now .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[9], ARGV[3])
