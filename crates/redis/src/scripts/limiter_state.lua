-- What every script of the limiter begins with: the arguments all share, the clock, the state of a bucket, its ring of slots.
--
-- KEYS[1] state: one packed string of numbers (see `save`)
-- KEYS[2] ring:  N slots of 16 bytes: requests u32, tokens u32, risk (sum of squared spreads of what is not settled) f64.
--                Slot i lies at i mod N and holds what was promised for [i*S, (i+1)*S) milliseconds.
-- ARGV[1]       packed: clock (0: Redis' own; tests give another), the clock as the caller expects it (0: no idea), how much
--               later it may be, the epoch and the sequence number the caller saw last, S, N, span (minute + guard), both
--               coming ends of the quota day, guard, learning time. All times in milliseconds.
local raw, expected, slack, epoch_seen, seq_seen, S, N, span, day_end, next_end, guard, learning =
  struct.unpack('<dddddddddddd', ARGV[1])
if raw == 0 then
  local t = redis.call('TIME')
  raw = t[1] * 1000 + math.floor(t[2] / 1000)
end
local OK, LOST, CLOCK, GEOMETRY = 0, 1, 2, 3
if expected > 0 and (raw < expected - 250 or raw > expected + 250 + slack) then return {CLOCK, raw} end

local K_STATE, K_RING, SLOT = KEYS[1], KEYS[2], 16
local S0, N0, span0 = S, N, span          -- shape of the ring; the longest span any caller named
local last, tau = raw, raw                -- the clock, made monotone; the latest instant promised
local head, top = 0, 0                    -- first slot in the window, last slot written
local nr, nt, nk = 0, 0, 0                -- sums over the ring: requests, tokens, risk
local tat_r, tat_t, low = 0, 0, 0         -- pacers of requests and tokens; when the low classes have their next turn
local before, today, after = 0, 0, 0      -- requests of yesterday, today, tomorrow
local day_start, dend, base = 0, 0, 0     -- the day; how much of today was told by callers after a loss
local epoch, prev, since, seq = 0, 0, 0, 0 -- this life of the state, the one before, what survived of it; calls counted
local hold = 0                            -- nothing goes before
local lrpm, ltpm, luntil = 0, 0, 0        -- learned limits (0: none), until when they hold
local live, facts = 1, 0                  -- processes at work here; version of the project's facts
local expiry, renewed = 0, false          -- when both keys end; true when that has changed
local FORMAT = '<' .. string.rep('d', 30)

local function save()
  -- One absolute expiry for both keys: sums without their ring would be wrong for ever.
  if renewed then
    expiry = math.floor(dend > 0 and dend or raw) + 93600000
    redis.call('PEXPIREAT', K_RING, expiry)
  end
  redis.call('SET', K_STATE, struct.pack(FORMAT, S0, N0, span0, last, tau, head, top, nr, nt, nk, tat_r, tat_t, low, before,
    today, after, day_start, dend, base, epoch, prev, since, seq, hold, lrpm, ltpm, luntil, live, facts, expiry), 'PXAT', expiry)
end

-- A new life: whoever knew the old one has to tell what it saw before anything is granted.
local function begin(survived)
  prev, since, base = epoch, survived, today
  local t = redis.call('TIME')
  epoch = math.max(epoch + 1, t[1] * 1000000 + t[2])
  seq = math.max(seq, seq_seen)
  hold = math.max(hold, last + learning)
end

local packed = redis.call('GET', K_STATE)
if packed then
  S0, N0, span0, last, tau, head, top, nr, nt, nk, tat_r, tat_t, low, before, today, after, day_start, dend, base, epoch, prev,
    since, seq, hold, lrpm, ltpm, luntil, live, facts, expiry = struct.unpack(FORMAT, packed)
  if S0 ~= S or N0 ~= N then return {GEOMETRY, S0, N0} end
  span0 = math.max(span0, span)
else
  renewed = true
  redis.call('SET', K_RING, string.rep('\0', SLOT * N))
  head = math.floor((raw - span) / S)
  top = head - 1
  begin(0)
end
span = span0
-- The state is older than what the caller saw: writes were lost (a crash, a replica that lagged).
if epoch_seen == epoch and seq_seen > seq then begin(seq) epoch_seen = prev end
local now = math.max(raw, last)
last = now

local chunk, first, count = '', 0, 0
local function read(i)
  if i < first or i >= first + count then
    local p = i % N
    first, count = i, math.min(N - p, 32)
    chunk = redis.call('GETRANGE', K_RING, p * SLOT, (p + count) * SLOT - 1)
  end
  return struct.unpack('<I4I4d', chunk, (i - first) * SLOT + 1)
end

local function write(i, r, t, k)
  redis.call('SETRANGE', K_RING, (i % N) * SLOT, struct.pack('<I4I4d', r, t, k))
  count = 0
  if i > top then top = i end
end

-- Empties the slots before `h`; their sums are already taken off.
local function wipe(h)
  local i = head
  if h - i > N then i = h - N end
  while i < h do
    local p = i % N
    local c = math.min(N - p, h - i)
    redis.call('SETRANGE', K_RING, p * SLOT, string.rep('\0', SLOT * c))
    i = i + c
  end
  count = 0
  head = h
end

-- Adds to a slot, or takes off no more than is there; returns the change. A slot that has left changes nothing.
local function change(i, dr, dt, dk)
  if i < head or i >= head + N then return 0, 0 end
  local r, t, k = read(i)
  local r2 = math.min(math.max(r + dr, 0), 4294967295)
  local t2 = math.min(math.max(t + dt, 0), 4294967295)
  local k2 = math.max(k + dk, 0)
  nr, nt, nk = nr + r2 - r, nt + t2 - t, nk + k2 - k
  write(i, r2, t2, k2)
  return r2 - r, t2 - t
end

-- Lets go what has left the window by the instant x, which no later grant precedes.
local function advance(x)
  local need = math.floor((x - span) / S)
  if need <= head then return end
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
