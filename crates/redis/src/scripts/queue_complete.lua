-- Ends tasks: the first result wins, whoever brings it, and result, acknowledgement and counters are one step.
-- KEYS: the queue's own, then one hash a task. ARGV: group, worker, how long an ended task is remembered (ms); then class,
-- entry, id, ending (done, dead, quarantined), wishes (r: the record is collected, h: a webhook is told), record, history.
-- Only the holder may end a task without success; a success counts from anyone, also after a failure was noted.
-- Returns for each task 1 stored, 0 somebody was first, -1 a failure told by one who does not hold it any more.
local OWN, EACH = 9, 7
local group, worker, keep = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = string.format('%.0f', now + keep)
local reply, counts, left = {}, {}, { {}, {}, {} }
local function count(what) counts[what] = (counts[what] or 0) + 1 end
local function holds(stream, entry)
  local held = redis.call('XPENDING', stream, group, entry, entry, 1)
  return held[1] and held[1][2] == worker
end
for i = OWN + 1, #KEYS do
  local at = 4 + (i - OWN - 1) * EACH
  local task, class, entry, id = KEYS[i], tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local ending, wishes, record, history = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local stream, good = KEYS[class], ending == 'done'
  local known = redis.call('HMGET', task, 'state', 'entry', 'told', 'by', 'at')
  local state, failed = known[1], known[1] == 'dead' or known[1] == 'quarantined'
  local verdict
  if state == ending and known[4] == worker then
    -- Its own word once more: the answer to the first was lost.
    verdict = 1
  elseif not good and not holds(stream, entry) then
    verdict = -1
  elseif not state or state == 'open' or state == 'cancelled' or (good and failed) then
    verdict = 1
    count(ending)
    local told = wishes:find('r', 1, true) and redis.call('XADD', KEYS[5], '*', 'id', id, 'ending', ending, 'record', record) or ''
    local hook = wishes:find('h', 1, true)
    if not known[5] and (hook or not good) then unfold(task, stream, entry) end
    if good then
      redis.call('HSET', task, 'state', ending, 'told', told, 'by', worker)
      if known[5] or failed then redis.call('HDEL', task, 'body', 'large', 'history') end
    else
      redis.call('HSET', task, 'state', ending, 'told', told, 'by', worker, 'history', history)
      redis.call('ZADD', KEYS[6], now, id)
    end
    if failed then
      redis.call('ZREM', KEYS[6], id)
      if known[3] and known[3] ~= '' then redis.call('XDEL', KEYS[5], known[3]) end
    end
    if hook then
      redis.call('HSET', task, 'result', record)
      redis.call('ZADD', KEYS[7], now, id)
    end
    if state == 'open' and known[2] ~= entry then
      -- Its holder gave it back, and another one who had it before was faster.
      if known[2] then left[class][#left[class] + 1] = known[2] else redis.call('ZREM', KEYS[4], class .. ':' .. id) end
    end
    redis.call('PEXPIREAT', task, gone)
  else
    count('duplicates')
    verdict = 0
  end
  if verdict >= 0 then left[class][#left[class] + 1] = entry end
  reply[#reply + 1] = verdict
end
for class = 1, 3 do
  if left[class][1] then
    redis.call('XACK', KEYS[class], group, unpack(left[class]))
    redis.call('XDEL', KEYS[class], unpack(left[class]))
  end
end
for what, many in pairs(counts) do redis.call('HINCRBY', KEYS[8], what, many) end
local oldest = string.format('%.0f', now - keep)
redis.call('XTRIM', KEYS[5], 'MINID', '~', oldest, 'LIMIT', 500)
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', '(' .. oldest)
return reply
