-- Gives entries to a worker, no more than it has room for.
-- KEYS: the queue's own. ARGV: group, worker, how many, classes in the order they are asked (as in "123").
-- Returns the milliseconds until the first delayed task is due (-1: none), then class, entry and fields of each entry. One
-- with the field "at" is a whole task; the others lie in their hashes.
local group, worker, left = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
local reply = { first[2] and math.max(0, tonumber(first[2]) - now) or -1 }
for class in ARGV[4]:gmatch('%d') do
  if left <= 0 then break end
  local read = redis.call('XREADGROUP', 'GROUP', group, worker, 'COUNT', left, 'STREAMS', KEYS[tonumber(class)], '>')
  if read then
    for _, entry in ipairs(read[1][2]) do
      left = left - 1
      reply[#reply + 1] = { tonumber(class), entry[1], entry[2] or {} }
    end
  end
end
return reply
