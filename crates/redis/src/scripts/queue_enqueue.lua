-- Takes tasks in, each once by its id, and stops where the queue is full.
-- KEYS: the queue's own, then one hash a task. ARGV: the most open tasks; then class, due (ms, 0: now), id, index,
-- fingerprint, settings, body of each. Returns a letter a task: N new, K known already, C known with other content;
-- fewer letters than tasks when the queue is full.
-- What can begin at once travels whole in its entry, which a worker reads in one step; what waits, or is large, in its hash.
local OWN, EACH, LARGE = 9, 7, 65536
local room = tonumber(ARGV[1]) - redis.call('ZCARD', KEYS[4])
for class = 1, 3 do room = room - redis.call('XLEN', KEYS[class]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at_now = string.format('%.0f', now)
local letters, new = {}, 0
for i = OWN + 1, #KEYS do
  local at = 2 + (i - OWN - 1) * EACH
  local task, class, due, id = KEYS[i], ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local index, fingerprint, settings, body = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local known = redis.call('HMGET', task, 'state', 'fingerprint')
  if known[1] and known[1] ~= 'cancelled' then
    letters[#letters + 1] = (known[2] and known[2] ~= fingerprint) and 'C' or 'K'
  else
    if new >= room then break end
    new = new + 1
    if known[1] then redis.call('DEL', task) end
    local waits = due > now
    if waits or #body > LARGE then
      redis.call('HSET', task, 'state', 'open', 'class', class, 'fingerprint', fingerprint, 'at', at_now, 'index', index,
        'settings', settings, 'body', body)
      if #body > LARGE then redis.call('HSET', task, 'large', 1) end
      if waits then
        redis.call('ZADD', KEYS[4], due, class .. ':' .. id)
      else
        redis.call('HSET', task, 'entry', redis.call('XADD', KEYS[tonumber(class)], '*', 'id', id))
      end
    else
      local entry = redis.call('XADD', KEYS[tonumber(class)], '*', 'id', id, 'at', at_now, 'index', index,
        'fingerprint', fingerprint, 'settings', settings, 'body', body)
      redis.call('HSET', task, 'state', 'open', 'class', class, 'fingerprint', fingerprint, 'entry', entry)
    end
    letters[#letters + 1] = 'N'
  end
end
if new > 0 then redis.call('HINCRBY', KEYS[8], 'submitted', new) end
return table.concat(letters)
