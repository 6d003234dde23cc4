-- Lets go of records that lie safe somewhere else; that a task has ended stays known until its time is over.
-- KEYS: the queue's own. ARGV: their entries in the stream of results. Returns how many were let go.
local many = redis.call('XDEL', KEYS[5], unpack(ARGV))
if many > 0 then redis.call('HINCRBY', KEYS[8], 'collected', many) end
return many
