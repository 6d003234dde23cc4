-- Tells the tasks of entries that a worker was given and that are not whole, or were lost by another worker before;
-- drops what has ended meanwhile.
-- KEYS: the queue's own, then one hash a task. ARGV: group; then class, entry, 1 when a lease ran out before, and a body
-- that a producer wrote into the entry without making a hash.
-- Returns for each task 0 (nothing to do), or: body (false when it is large, or in the entry), index, fingerprint, settings,
-- attempts, how often it was lost with its worker, and its history.
local OWN, EACH, LARGE = 9, 4, 65536
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply, lost_now = {}, 0
for i = OWN + 1, #KEYS do
  local at = 2 + (i - OWN - 1) * EACH
  local class, entry, again, inline = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1', ARGV[at + 3]
  local task = redis.call('HMGET', KEYS[i], 'state', 'large', 'index', 'fingerprint', 'settings', 'attempts', 'lost', 'at',
    'history', 'entry')
  if not task[1] and inline ~= '' then
    redis.call('HSET', KEYS[i], 'state', 'open', 'class', class, 'at', string.format('%.0f', now), 'body', inline, 'entry', entry)
    task[1], task[8], task[10] = 'open', '', entry
    if #inline > LARGE then
      redis.call('HSET', KEYS[i], 'large', 1)
      task[2] = '1'
    end
  end
  if task[1] ~= 'open' or (task[10] and task[10] ~= entry) then
    redis.call('XACK', KEYS[tonumber(class)], ARGV[1], entry)
    redis.call('XDEL', KEYS[tonumber(class)], entry)
    reply[#reply + 1] = 0
  else
    local lost = tonumber(task[7]) or 0
    if again then
      lost = redis.call('HINCRBY', KEYS[i], 'lost', 1)
      lost_now = lost_now + 1
    end
    local body = task[8] and not task[2] and redis.call('HGET', KEYS[i], 'body')
    reply[#reply + 1] = { body, task[3], task[4], task[5], tonumber(task[6]) or 0, lost, task[9] }
  end
end
if lost_now > 0 then redis.call('HINCRBY', KEYS[8], 'redelivered', lost_now) end
return reply
