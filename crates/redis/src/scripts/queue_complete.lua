-- Ends tasks: the first result wins, whoever brings it, and result, acknowledgement and counters are one step.
-- KEYS: the queue's own, then one hash a task. ARGV: group, worker, how long an ended task is remembered (ms); then class,
-- entry, id, ending (done, dead, quarantined), wishes (r: the record is collected, h: a webhook is told), record, history.
-- Only the holder may end a task without success; a success counts from anyone, also after a failure was noted.
-- Returns for each task 1 stored, 0 somebody was first, -1 a failure told by one who does not hold it any more.
local OWN, EACH = 9, 7
local group, worker, keep = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply, counts = {}, {}
local function count(what) counts[what] = (counts[what] or 0) + 1 end
local function holds(stream, entry)
  local held = redis.call('XPENDING', stream, group, entry, entry, 1)
  return held[1] and held[1][2] == worker
end
for i = OWN + 1, #KEYS do
  local at = 4 + (i - OWN - 1) * EACH
  local task, stream, entry, id = KEYS[i], KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local ending, wishes, record, history = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local good = ending == 'done'
  local verdict, fresh
  if not good and not holds(stream, entry) then
    verdict = redis.call('HGET', task, 'result') == record and 1 or -1
  elseif redis.call('HSETNX', task, 'result', record) == 1 then
    verdict, fresh = 1, true
    count(ending)
  else
    local state = redis.call('HGET', task, 'state')
    if good and (state == 'dead' or state == 'quarantined') then
      redis.call('HSET', task, 'result', record)
      redis.call('ZREM', KEYS[6], id)
      count(ending)
      verdict, fresh = 1, true
    elseif redis.call('HGET', task, 'result') == record then
      verdict = 2
    else
      count('duplicates')
      verdict = 0
    end
  end
  if fresh then
    local told
    if wishes:find('r', 1, true) then told = redis.call('XADD', KEYS[5], '*', 'id', id, 'ending', ending) end
    local hook = wishes:find('h', 1, true)
    if good then
      redis.call('HSET', task, 'state', ending, 'told', told or '')
      redis.call('HDEL', task, 'given', 'body', 'large', 'history')
    else
      redis.call('HSET', task, 'state', ending, 'told', told or '', 'history', history)
      redis.call('HDEL', task, 'given')
      redis.call('ZADD', KEYS[6], now, id)
    end
    if hook then
      redis.call('ZADD', KEYS[7], now, id)
    elseif not told then
      redis.call('HSET', task, 'result', '')
    end
    redis.call('PEXPIREAT', task, now + keep)
  end
  if verdict >= 0 then
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
  end
  reply[#reply + 1] = math.min(verdict, 1)
end
for what, many in pairs(counts) do redis.call('HINCRBY', KEYS[8], what, many) end
local oldest = string.format('%.0f', now - keep)
redis.call('XTRIM', KEYS[5], 'MINID', '~', oldest, 'LIMIT', 500)
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', '(' .. oldest)
return reply
