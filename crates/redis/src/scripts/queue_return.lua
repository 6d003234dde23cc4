-- Takes tasks back from their holder, to be given out again: at once, or when their delay is over.
-- KEYS: the queue's own, then one hash a task. ARGV: group, worker; then class, entry, id, delay (ms), why (retried,
-- postponed, handed_over), a line for its history. Only a retry counts as an attempt of the task.
-- Returns for each task 1, or 0 when it was not the worker's any more.
local OWN, EACH = 9, 6
local group, worker = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply, counts = {}, {}
for i = OWN + 1, #KEYS do
  local at = 3 + (i - OWN - 1) * EACH
  local task, stream, entry, id = KEYS[i], KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local delay, why, line = tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5]
  local held = redis.call('XPENDING', stream, group, entry, entry, 1)
  local mine = held[1] and held[1][2] == worker
  if mine then
    local open = redis.call('HGET', task, 'state') == 'open'
    if open then unfold(task, stream, entry) end
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
    if open then
      counts[why] = (counts[why] or 0) + 1
      redis.call('HDEL', task, 'entry')
      if why == 'retried' then redis.call('HINCRBY', task, 'attempts', 1) end
      if line ~= '' then
        local before = redis.call('HGET', task, 'history')
        redis.call('HSET', task, 'history', (before and before ~= '') and (before .. '\n' .. line) or line)
      end
      if delay > 0 then
        redis.call('ZADD', KEYS[4], now + delay, ARGV[at] .. ':' .. id)
      else
        redis.call('HSET', task, 'entry', redis.call('XADD', stream, '*', 'id', id))
      end
    end
  end
  reply[#reply + 1] = mine and 1 or 0
end
for what, many in pairs(counts) do redis.call('HINCRBY', KEYS[8], what, many) end
return reply
