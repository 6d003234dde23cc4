-- Puts delayed tasks that are due into their streams.
-- KEYS: the queue's own, then one hash a task. ARGV: the members of the delayed set, CLASS:ID, one a task.
-- Returns how many were put.
local OWN = 9
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local put = 0
for i = OWN + 1, #KEYS do
  local member = ARGV[i - OWN]
  local due = redis.call('ZSCORE', KEYS[4], member)
  if due and tonumber(due) <= now then
    redis.call('ZREM', KEYS[4], member)
    if redis.call('HGET', KEYS[i], 'state') == 'open' then
      local entry = redis.call('XADD', KEYS[tonumber(member:sub(1, 1))], '*', 'id', member:sub(3))
      redis.call('HSET', KEYS[i], 'entry', entry)
      put = put + 1
    end
  end
end
return put
