-- Hands entries that a worker was given over to it: tells their tasks, notes before any call that they are in its hands,
-- and drops what has ended meanwhile.
-- KEYS: the queue's own, then one hash a task. ARGV: group, worker; then class, entry, 1 when a lease ran out before,
-- and a body that stood in the entry itself.
-- Returns for each task 0 (nothing to do), or: body (false when large), index, fingerprint, settings, attempts, how often it
-- was lost with its worker, who held it last, milliseconds since it came, and its history.
local OWN, EACH, LARGE = 9, 4, 65536
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mark = string.format('%.0f', now) .. ' ' .. ARGV[2]
local reply, lost_now = {}, 0
for i = OWN + 1, #KEYS do
  local at = 3 + (i - OWN - 1) * EACH
  local class, entry, again, inline = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1', ARGV[at + 3]
  local task = redis.call('HMGET', KEYS[i], 'state', 'large', 'index', 'fingerprint', 'settings', 'attempts', 'lost',
    'given', 'at', 'history', 'entry')
  if not task[1] and inline ~= '' then
    redis.call('HSET', KEYS[i], 'state', 'open', 'class', class, 'at', string.format('%.0f', now), 'body', inline, 'entry', entry)
    task[1], task[9], task[11] = 'open', now, entry
    if #inline > LARGE then
      redis.call('HSET', KEYS[i], 'large', 1)
      task[2] = '1'
    end
  end
  if task[1] ~= 'open' or (task[11] and task[11] ~= entry) then
    redis.call('XACK', KEYS[tonumber(class)], ARGV[1], entry)
    redis.call('XDEL', KEYS[tonumber(class)], entry)
    reply[#reply + 1] = 0
  else
    local lost = tonumber(task[7]) or 0
    if again and task[8] then
      lost = redis.call('HINCRBY', KEYS[i], 'lost', 1)
      lost_now = lost_now + 1
    end
    redis.call('HSET', KEYS[i], 'given', mark)
    local body = not task[2] and redis.call('HGET', KEYS[i], 'body')
    reply[#reply + 1] = { body, task[3], task[4], task[5], tonumber(task[6]) or 0, lost, again and task[8] or false,
      now - (tonumber(task[9]) or now), task[10] }
  end
end
if lost_now > 0 then redis.call('HINCRBY', KEYS[8], 'redelivered', lost_now) end
return reply
