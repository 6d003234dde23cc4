-- Takes back what is settled, then promises what fits: all limits are looked at first and taken in one step.
--
-- KEYS[3..5] readable counters: requests and tokens of the minute, requests of the day
-- KEYS[6] live: the processes at work here, by when they were last heard of
-- KEYS[7] facts of the project; KEYS[8] flight: calls under way by process, where the project limits them
-- ARGV[2] packed: limits of requests, tokens, requests a day; burst (share of a limit that may go at once), horizon, share of
--         every limit this class may fill, horizon of the class (0: it never reserves ahead), deviations kept as margin,
--         limit of calls under way (0: none), how long a silent process counts, calls this process has under way, turn of low classes
-- ARGV[3] packed, 8 bytes each: tokens and spread of one wanted permit
-- ARGV[4] packed, 4 numbers each: slot, change of requests, of tokens, of risk
-- ARGV[5] the process, when it shall be heard of; empty otherwise
-- ARGV[6] the process
if epoch_seen ~= 0 and epoch_seen ~= epoch then
  save()
  return {LOST, raw, epoch, prev, since}
end
local R, T, D, burst, H, share, Hc, Z, most, patience, mine, turn = struct.unpack('<dddddddddddd', ARGV[2])
if luntil > now then
  if lrpm > 0 then R = math.min(R, lrpm) end
  if ltpm > 0 then T = math.min(T, ltpm) end
end
local floor, ceil, max, min, sqrt = math.floor, math.ceil, math.max, math.min, math.sqrt

-- The day. Both its ends come from the caller's table of time zones; where two differ, the later one rules.
local length = next_end - day_end
local coming = day_end > now and day_end or next_end
if coming <= now then coming = now + length end
local disputed = 0
if dend == 0 then
  dend, day_start, renewed = coming, coming - length, true
elseif now >= dend then
  local adjacent = coming - dend <= 1.5 * length
  before, today = adjacent and today or 0, adjacent and after or 0
  day_start = adjacent and dend or coming - length
  after, base, dend, renewed = 0, 0, coming, true
elseif coming ~= dend then
  disputed = 1
  if coming > dend and coming - dend < length / 2 then dend, renewed = coming, true end
end
-- Within a guard of midnight a request counts on both days; by whole slots, so that it can be taken back.
local yesterday_ends, both_begin, both_end = ceil((day_start + guard) / S), floor((dend - guard) / S), ceil((dend + guard) / S)
local function count_day(i, n)
  if i < both_end then today = max(today + n, 0) end
  if i < yesterday_ends then before = max(before + n, 0) end
  if i >= both_begin then after = max(after + n, 0) end
end
local function day_room(x, limit)
  local i = floor(x / S)
  if i < both_end then
    if today >= limit then x, i = both_end * S, both_end
    elseif i < yesterday_ends and before >= limit then x, i = yesterday_ends * S, yesterday_ends end
  end
  if i >= both_begin and after >= limit then x = ceil((max(next_end, dend + length / 2) + guard) / S) * S end
  return x
end

advance(max(now, tau))
local rate_r, rate_t = R / span, T / span
for at = 1, #ARGV[4], 32 do
  local i, dr, dt, dk = struct.unpack('<dddd', ARGV[4], at)
  local r, t = change(i, dr, dt, dk)
  if r < 0 then count_day(i, r) end
  if burst < 1 then tat_r, tat_t = tat_r + r / rate_r, tat_t + t / rate_t end
end

if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[6], now, ARGV[5])
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - 5000)
  redis.call('PEXPIRE', KEYS[6], 60000)
  live = redis.call('ZCARD', KEYS[6])
  facts = tonumber(redis.call('HGET', KEYS[7], 'version') or 0)
end

local wanted = #ARGV[3] / 8
local free = wanted
if most > 0 then
  free = most - mine
  local all = redis.call('HGETALL', KEYS[8])
  for at = 1, #all, 2 do
    local calls, heard = string.match(all[at + 1], '^(%d+) (%d+)$')
    if tonumber(heard) + patience < now then
      redis.call('HDEL', KEYS[8], all[at])
    elseif all[at] ~= ARGV[6] then
      free = free - calls
    end
  end
end

local NONE, HELD, PACED, REQUESTS, TOKENS, DAY, SHARED, FLIGHT, TURN, NEVER = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
local cap = wanted
if live > 1 then cap = max(1, floor(H * rate_r / live)) end

-- What is promised but not yet written: it gathers while it falls into one slot.
local pending, pr, pt, pk = -1, 0, 0, 0
local function flush()
  if pending >= 0 then
    local r, t, k = read(pending)
    -- Without a limit of tokens more may come than a slot can count.
    local beyond = max(t + pt - 4294967295, 0)
    nt = nt - beyond
    write(pending, r + pr, t + pt - beyond, k + pk)
  end
  pending, pr, pt, pk = -1, 0, 0, 0
end

local function fits(r, t, k, w, v, requests, tokens)
  if r + 1 > requests then return REQUESTS end
  local margin = k + v > 0 and Z * sqrt(k + v) or 0
  -- An empty window takes whatever is not above the limit itself.
  if t + w + margin > tokens and t > 0 then return TOKENS end
  return NONE
end

-- The earliest instant from x on with room in the window, and the window as it will be then. Changes nothing.
local function window(x, w, v, requests, tokens)
  local h, r, t, k, why = head, nr, nt, nk, NONE
  local need = floor((x - span) / S)
  while true do
    local short = fits(r, t, k, w, v, requests, tokens)
    if short == NONE and h >= need then return x, h, r, t, k, why end
    if h > top then
      r, t, k = 0, 0, 0
      if need > h then h = need end
    else
      if pending >= 0 and h >= pending then flush() end
      local a, b, c = read(h)
      r, t, k, h = r - a, t - b, k - c, h + 1
      if short ~= NONE then
        why = short
        x = max(x, h * S + span)
        need = floor((x - span) / S)
      end
    end
  end
end

-- The earliest instant for a permit under these limits, why not before, and the window then.
local function earliest(w, v, requests, tokens, daily)
  local x, why = max(now, tau), tau > now and TURN or NONE
  if hold > x then x, why = hold, HELD end
  if burst < 1 then
    local br, bt = max(1, R * burst), max(1, T * burst)
    local y = max(tat_r - (br - 1) / rate_r, tat_t - (bt - min(w, bt)) / rate_t)
    -- Sums of fractions are off by less than a hundredth of a millisecond.
    if y > x + 0.01 then x, why = ceil(y - 0.01), PACED end
  end
  local h, r, t, k, short
  repeat
    local y = day_room(x, daily)
    if y > x then x, why = y, DAY end
    y, h, r, t, k, short = window(x, w, v, requests, tokens)
    local moved = y > x
    if moved then x, why = y, short end
  until not moved or day_room(x, daily) == x
  return x, why, h, r, t, k
end

local requests, tokens, daily = max(1, floor(R * share)), floor(T * share), floor(D * share)
local out = {OK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
local dimension, hint, granted = NONE, 0, 0
for i = 1, wanted do
  local w, spread = struct.unpack('<I4I4', ARGV[3], i * 8 - 7)
  local v = spread * spread
  if w > T or R < 1 or D < 1 then dimension, hint = NEVER, -1 break end
  if granted >= cap then dimension, hint = SHARED, max(tau - now, 0) break end
  if free < 1 then dimension, hint = FLIGHT, S break end
  local turned = Hc == 0 and low <= now      -- a low class whose turn has come is served like the others
  local x, why, h, r, t, k
  if turned then
    x, why, h, r, t, k = earliest(w, v, R, T, D)
  else
    x, why, h, r, t, k = earliest(w, v, requests, tokens, daily)
  end
  if x - now > (turned and H or Hc) then
    dimension, hint = why, x - now
    if Hc == 0 then
      if not turned then x = earliest(w, v, R, T, D) end
      hint = min(hint, max(low - now, x - now - H, 1))
    end
    break
  end
  if h > head then
    flush()
    wipe(h)
  end
  local slot = floor(x / S)
  if slot ~= pending then
    flush()
    pending = slot
  end
  pr, pt, pk = pr + 1, pt + w, pk + v
  nr, nt, nk = r + 1, t + w, k + v
  if slot > top then top = slot end
  count_day(slot, 1)
  tau, free, granted = x, free - 1, granted + 1
  if burst < 1 then tat_r, tat_t = max(tat_r, x) + 1 / rate_r, max(tat_t, x) + w / rate_t end
  if turned then low = max(low, now) + turn / rate_r end
  out[17 + granted] = x - now
end
flush()
if most > 0 then
  redis.call('HSET', KEYS[8], ARGV[6], string.format('%d %d', mine + granted, now))
  redis.call('PEXPIRE', KEYS[8], patience + 60000)
end
seq = seq + 1
redis.call('SET', KEYS[3], string.format('%d', nr), 'PX', span + H)
redis.call('SET', KEYS[4], string.format('%d', nt), 'PX', span + H)
redis.call('SET', KEYS[5], string.format('%d', today), 'PXAT', max(dend, raw + 1))
save()
out[2], out[3], out[4], out[5], out[6], out[7], out[8], out[9] = raw, now, epoch, seq, max(hold - now, 0), live, nr, nt
out[10], out[11], out[12], out[13], out[14], out[15], out[16], out[17] =
  today, disputed, facts, luntil > now and lrpm or 0, luntil > now and ltpm or 0, dimension, ceil(hint), dend
return out
