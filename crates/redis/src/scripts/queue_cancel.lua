-- Takes open tasks out of the queue. Who holds one learns it when its lease is renewed.
-- KEYS: the queue's own, then one hash a task. ARGV: group, how long the note of it stays (ms); then the id of each.
-- Returns for each task 1 cancelled, 0 not known, 2 ended before.
local OWN = 9
local reply, many = {}, 0
for i = OWN + 1, #KEYS do
  local id = ARGV[i - OWN + 2]
  local task = redis.call('HMGET', KEYS[i], 'state', 'class', 'entry')
  if not task[1] or task[1] == 'cancelled' then
    reply[#reply + 1] = 0
  elseif task[1] ~= 'open' then
    reply[#reply + 1] = 2
  else
    local stream = KEYS[tonumber(task[2])]
    if task[3] then
      redis.call('XACK', stream, ARGV[1], task[3])
      redis.call('XDEL', stream, task[3])
    end
    redis.call('ZREM', KEYS[4], task[2] .. ':' .. id)
    redis.call('DEL', KEYS[i])
    redis.call('HSET', KEYS[i], 'state', 'cancelled')
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
    many = many + 1
    reply[#reply + 1] = 1
  end
end
if many > 0 then redis.call('HINCRBY', KEYS[8], 'cancelled', many) end
return reply
