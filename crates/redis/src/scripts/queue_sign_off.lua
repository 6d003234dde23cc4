-- Deletes a consumer that holds nothing: one that does would take its entries with it.
-- KEYS: a stream. ARGV: group, worker.
local held = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #held == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return #held
