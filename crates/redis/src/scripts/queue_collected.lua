-- Lets go of results that lie safe somewhere else; that a task has ended stays known until its time is over.
-- KEYS: the queue's own, then one hash a task. ARGV: the entry of each in the stream of results.
-- Returns how many were let go.
local OWN = 9
local many = 0
for i = OWN + 1, #KEYS do
  local entry = ARGV[i - OWN]
  local task = redis.call('HMGET', KEYS[i], 'told', 'state')
  if task[1] == entry then
    if redis.call('ZSCORE', KEYS[7], string.match(KEYS[i], '}:t:(.*)$')) then
      -- Its webhook has not been told yet and needs the record.
      redis.call('HSET', KEYS[i], 'told', '')
    else
      redis.call('HSET', KEYS[i], 'result', '')
    end
  end
  many = many + redis.call('XDEL', KEYS[5], entry)
end
if many > 0 then redis.call('HINCRBY', KEYS[8], 'collected', many) end
return many
