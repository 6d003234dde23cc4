-- Comes before scripts that take an entry away from a task which lives on without it.
-- Puts what stands in an entry into the hash of its task. Nothing happens where the entry is gone, or holds no whole task.
local function unfold(task, stream, entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  if found and found[2][3] == 'at' then
    local fields = found[2]
    redis.call('HSET', task, unpack(fields, 3))
  end
end
