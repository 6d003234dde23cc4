-- Renews the leases of a worker: of what it still holds, and of nothing else.
-- KEYS: the queue's own, then one hash a task. ARGV: group, worker; then class, entry of each task.
-- Returns a letter a task: H held, L another worker has it, D it has ended or was cancelled, G nobody knows of it.
local OWN, EACH = 9, 2
local group, worker = ARGV[1], ARGV[2]
local letters = {}
for i = OWN + 1, #KEYS do
  local at = 3 + (i - OWN - 1) * EACH
  local stream, entry = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
  local held = redis.call('XPENDING', stream, group, entry, entry, 1)
  if held[1] and held[1][2] == worker then
    redis.call('XCLAIM', stream, group, worker, 0, entry, 'JUSTID')
    letters[#letters + 1] = 'H'
  elseif held[1] then
    letters[#letters + 1] = 'L'
  else
    local task = redis.call('HMGET', KEYS[i], 'state', 'entry')
    if not task[1] then
      letters[#letters + 1] = 'G'
    elseif task[1] == 'open' then
      letters[#letters + 1] = (task[2] == entry) and 'G' or 'L'
    else
      letters[#letters + 1] = 'D'
    end
  end
end
return table.concat(letters)
