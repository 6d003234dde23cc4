-- What processes of a project tell each other: a hash of facts, each with its own end, and a version that grows with every
-- change.
--
-- KEYS[1]  the hash; field `version`, fields `fact:NAME` with "END VALUE", END in milliseconds of Redis' clock
-- ARGV     none: read all. NAME, VALUE, LENGTH: put one for so many milliseconds, 0 takes it away.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local K = KEYS[1]
if #ARGV == 3 then
  local length = tonumber(ARGV[3])
  if length > 0 then
    redis.call('HSET', K, 'fact:' .. ARGV[1], string.format('%d ', now + length) .. ARGV[2])
  else
    redis.call('HDEL', K, 'fact:' .. ARGV[1])
  end
  -- Versions never go back, even when the hash was lost.
  local version = math.max(tonumber(redis.call('HGET', K, 'version') or 0) + 1, now)
  redis.call('HSET', K, 'version', string.format('%d', version))
  redis.call('PEXPIRE', K, math.max(length, redis.call('PTTL', K), 86400000))
end
local all = redis.call('HGETALL', K)
local reply = {'0'}
for at = 1, #all, 2 do
  if all[at] == 'version' then
    reply[1] = all[at + 1]
  else
    local ends, value = string.match(all[at + 1], '^(%d+) (.*)$')
    if ends and tonumber(ends) > now then
      reply[#reply + 1] = string.sub(all[at], 6)
      reply[#reply + 1] = value
    else
      redis.call('HDEL', K, all[at])
    end
  end
end
return reply
