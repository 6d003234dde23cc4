-- Gives tasks of the dead letters another life.
-- KEYS: the queue's own, then one hash a task. ARGV: the id of each.
-- Returns for each task 1 queued again, 0 not among the dead letters.
local OWN = 9
local reply, many = {}, 0
for i = OWN + 1, #KEYS do
  local id = ARGV[i - OWN]
  local task = redis.call('HMGET', KEYS[i], 'state', 'class', 'told')
  if redis.call('ZREM', KEYS[6], id) == 1 and (task[1] == 'dead' or task[1] == 'quarantined') then
    redis.call('PERSIST', KEYS[i])
    if task[3] and task[3] ~= '' then redis.call('XDEL', KEYS[5], task[3]) end
    redis.call('HDEL', KEYS[i], 'result', 'told', 'by', 'lost', 'attempts')
    local entry = redis.call('XADD', KEYS[tonumber(task[2])], '*', 'id', id)
    redis.call('HSET', KEYS[i], 'state', 'open', 'entry', entry)
    many = many + 1
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
if many > 0 then redis.call('HINCRBY', KEYS[8], 'requeued', many) end
return reply
