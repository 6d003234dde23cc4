-- What every script of the limiter begins with: the arguments all share, the clock, the state of a bucket.
--
-- KEYS[1]  one packed string: 38 numbers (see the end of every script), then N slots of 16 bytes: requests u32, tokens u32,
--          risk (sum of squared spreads of what is not settled) f64. Slot i lies at i mod N and holds what was promised for
--          [i*S, (i+1)*S). Numbers and slots share one key, so that neither is ever there without the other.
-- ARGV[1]  packed: clock (0: Redis' own; tests give another), the clock as the caller expects it (0: no idea), how much later
--          it may be, the epoch and the sequence number the caller saw last, S, N, span (minute + guard), both coming ends of
--          the quota day, guard, learning time; more where a script says so. All times in milliseconds.
--
-- Functions are few, and made where they are needed: each costs as much as a command, for the many numbers it would share.
local call, floor, max, min, pack, unpack_at = redis.call, math.floor, math.max, math.min, struct.pack, struct.unpack
local raw, expected, slack, epoch_seen, seq_seen, S, N, span, day_end, next_end, guard, learning =
  unpack_at('<dddddddddddd', ARGV[1])
if raw == 0 then
  local t = call('TIME')
  raw = t[1] * 1000 + floor(t[2] / 1000)
end
local OK, LOST, CLOCK, SHAPE = 0, 1, 2, 3
if expected > 0 and (raw < expected - 250 or raw > expected + 250 + slack) then return {CLOCK, raw} end

local K, BASE, SLOT, FORMAT = KEYS[1], 304, 16, '<dddddddddddddddddddddddddddddddddddddd'
local S0, N0, span0, last, tau, head, top, nr, nt, nk, tat_r, tat_t, low, before, today, after, day_start, dend, base, epoch,
  prev, since, seq, hold, lrpm, ltpm, luntil, live, facts, fresh, cs, cr, ct, ck,
  listening, told, lrpd, machines
-- (`cs`, `cr`, `ct`, `ck`: the slot written last, kept here beside the ring; `fresh`: when the counters' expiry was set; `machines`: requests of the day that
-- machines told, each once a life; `base`: those of the day that were told and not promised in this life.)
local survived                             -- set when a life of the state ends: the last call the next one knows of
local renewed = false                      -- the day, and with it the expiry, has changed
local packed = call('GETRANGE', K, 0, BASE - 1)
if #packed == BASE then
  S0, N0, span0, last, tau, head, top, nr, nt, nk, tat_r, tat_t, low, before, today, after, day_start, dend, base, epoch,
    prev, since, seq, hold, lrpm, ltpm, luntil, live, facts, fresh, cs, cr, ct, ck,
    listening, told, lrpd, machines = unpack_at(FORMAT, packed)
  if S0 ~= S or N0 ~= N then return {SHAPE, S0, N0} end
  if span0 > span then span = span0 end
  -- The state is older than what the caller saw: writes were lost (a crash, a replica that lagged).
  if epoch_seen == epoch and seq_seen > seq then survived = seq end
else
  call('SET', K, string.rep('\0', BASE + SLOT * N))
  last, tau, head = raw, raw, floor((raw - span) / S)
  top, nr, nt, nk, tat_r, tat_t, low, before, today, after, day_start, dend = head - 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
  epoch, seq, hold, lrpm, ltpm, luntil, live, facts, fresh, cs, cr, ct, ck, listening, told, lrpd, machines =
    0, 0, 0, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0
  renewed = true
  survived = 0
end
local now = raw > last and raw or last
last = now
if survived then
  -- A new life: whoever knew the old one has to tell what it saw. Nothing is promised, not even ahead, until there was
  -- time for that.
  local t = call('TIME')
  prev, since, base, machines = epoch, survived, today, 0
  epoch, seq, listening = max(epoch + 1, t[1] * 1000000 + t[2]), max(seq, seq_seen), now + learning
end
local lost = epoch_seen ~= 0 and epoch_seen ~= epoch

local chunk, first, count = '', 0, 0
local function read(i)
  if i < first or i >= first + count then
    local p = i % N
    first, count = i, min(N - p, 32)
    chunk = call('GETRANGE', K, BASE + p * SLOT, BASE + (p + count) * SLOT - 1)
  end
  return unpack_at('<I4I4d', chunk, (i - first) * SLOT + 1)
end

-- Empties the slots from `head` to before `h`; their sums are already taken off.
local function wipe(h)
  local i = max(head, h - N)
  while i < h do
    local p = i % N
    local c = min(N - p, h - i)
    call('SETRANGE', K, BASE + p * SLOT, string.rep('\0', SLOT * c))
    i = i + c
  end
  count, head = 0, h
end

-- Lets go what has left the window by now, or by the latest promise: no later grant precedes that.
local need = floor(((tau > now and tau or now) - span) / S)
if need > head then
  local h, dirty = head, false
  while h < need and h <= top do
    local r, t, k = read(h)
    if r > 0 or t > 0 then dirty = true end
    nr, nt, nk = nr - r, nt - t, nk - k
    h = h + 1
  end
  if dirty then wipe(h) end
  if h > top then nr, nt, nk = 0, 0, 0 end
  head = need
end
