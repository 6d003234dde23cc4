
-- Takes back what is settled, then promises what fits: all limits are looked at first and taken in one step.
--
-- KEYS[2..4] readable counters: requests and tokens of the minute, requests of the day
-- KEYS[5] live: the processes at work here, by when they were last heard of
-- KEYS[6] facts of the project; KEYS[7] flight: calls under way by process, where the project limits them
-- ARGV[1] goes on: limits of requests, tokens, requests a day; burst (share of a limit that may go at once), horizon, share of
--         every limit this class may fill, horizon of the class (0: it never reserves ahead), deviations kept as margin,
--         limit of calls under way (0: none), how long a silent process counts, calls this process has under way, turn of low
--         classes, 1 when the process shall be heard of, a number no other call has
-- ARGV[2] packed, 8 bytes each: tokens and spread of one wanted permit
-- ARGV[3] packed, 4 numbers each: slot, change of requests, of tokens, of risk
-- ARGV[4] the process and the family: a process is counted once for each
local reply = {LOST, raw, epoch, prev, since}
if not lost then
  local R, T, D, burst, H, share, Hc, Z, most, patience, mine, turn, heard, call_number =
    unpack_at('<dddddddddddddd', ARGV[1], 97)
  if luntil > now then
    if lrpm > 0 then R = min(R, lrpm) end
    if ltpm > 0 then T = min(T, ltpm) end
  end
  if lrpd > 0 then D = min(D, lrpd) end
  local rate_r, rate_t = R / span, T / span

  -- Within a guard of midnight a request counts on both days; by whole slots, so that it can be taken back.
  local today_begins, yesterday_ends = floor((day_start - guard) / S), math.ceil((day_start + guard) / S)
  local both_begin, both_end = floor((dend - guard) / S), math.ceil((dend + guard) / S)

  -- The connection to a cluster may send a call again that was done: what it gives back is taken once.
  for at = 1, call_number ~= told and #ARGV[3] or 0, 32 do
    local i, dr, dt, dk = unpack_at('<dddd', ARGV[3], at)
    local r, t = change(i, dr, dt, dk)
    if r ~= 0 then
      if i >= today_begins and i < both_end then today = max(today + r, 0) end
      if i < yesterday_ends then before = max(before + r, 0) end
      if i >= both_begin then after = max(after + r, 0) end
    end
    if burst < 1 then tat_r, tat_t = tat_r + r / rate_r, tat_t + t / rate_t end
  end

  if #ARGV[3] > 0 then told = call_number end

  if heard == 1 then
    call('ZADD', KEYS[5], now, ARGV[4])
    call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - 5000)
    call('PEXPIRE', KEYS[5], 60000)
    live = call('ZCARD', KEYS[5])
    facts = tonumber(call('HGET', KEYS[6], 'version') or 0)
  end
  local wanted = #ARGV[2] / 8
  local free = wanted
  if most > 0 then
    free = most - mine
    local under_way = call('HGETALL', KEYS[7])
    for at = 1, #under_way, 2 do
      local calls, then_ = string.match(under_way[at + 1], '^(%d+) (%d+)$')
      if tonumber(then_) + patience < now then
        call('HDEL', KEYS[7], under_way[at])
      elseif under_way[at] ~= ARGV[4] then
        free = free - calls
      end
    end
  end
  -- Four times the even part of the horizon: permits come in bursts, and each question costs.
  local cap = live > 1 and max(1, floor(4 * H * rate_r / live)) or wanted

  local costs, sqrt, ceil = ARGV[2], math.sqrt, math.ceil
  local NONE, HELD, PACED, REQUESTS, TOKENS, DAY, SHARED, FLIGHT, TURN, NEVER = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
  -- A stalled call takes the place of one in a thousand, and a minute's worth goes out over 60 slots, 20 a slot at least: all at
  -- once would be late on their way by more than the guard.
  local part = max(1, floor(R * share))
  local all, requests, tokens, daily = R - floor(R / 1000), part - floor(part / 1000), floor(T * share), floor(D * share)
  local most_in_slot = max(20, floor(part / 60))
  local dimension, hint, granted = NONE, 0, 0
  -- What is promised gathers while it falls into one slot, and is written when that changes.
  local x = tau > now and tau or now
  local slot, pr, pt, pk = floor(x / S), 0, 0, 0
  local filled = slot == cs and cr or slot <= top and read(slot) or 0
  -- How many may go at x as far as requests and days tell; 0 where it is not that plain, -1 when it is not known yet.
  local left = -1
  local flush, earliest
  reply = {OK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for i = 1, wanted do
    local w, spread = unpack_at('<I4I4', costs, i * 8 - 7)
    local v = spread * spread
    local risk = nk + v
    if left < 0 then
      local special = burst < 1 or hold > x or listening > now or x - now > Hc or Hc == 0 and low <= now
        or slot < yesterday_ends or slot >= both_begin
      left = special and 0 or min(requests - nr, daily - today, cap - granted, free - granted, most_in_slot - filled)
    end
    if left < 1 or nt + w + (risk > 0 and Z * sqrt(risk) or 0) > tokens then
      if w > T or R < 1 or D < 1 then dimension, hint = NEVER, -1 break end
      if listening > now then dimension, hint = HELD, listening - now break end
      if granted >= cap then dimension, hint = SHARED, max(tau - now, 0) break end
      if granted >= free then dimension, hint = FLIGHT, S break end
      local turned = Hc == 0 and low <= now    -- a low class whose turn has come is served like the others
      if not earliest then
        flush = function()
          if pr > 0 then
            local r, t, k = read(slot)
            -- Without a limit of tokens more may come than a slot can count.
            local beyond = max(t + pt - 4294967295, 0)
            nt = nt - beyond
            call('SETRANGE', K, BASE + (slot % N) * SLOT, pack('<I4I4d', r + pr, t + pt - beyond, k + pk))
          end
          pr, pt, pk, count, cs = 0, 0, 0, 0, -1
        end
        -- The earliest instant for a permit under these limits, why not before, and the window then. Changes nothing.
        earliest = function(w, v, requests, tokens, daily)
          if pr > 0 and slot > top then top = slot end
          local x, why = max(now, tau), tau > now and TURN or NONE
          if hold > x then x, why = hold, HELD end
          if burst < 1 then
            local br, bt = max(1, R * burst), max(1, T * burst)
            local y = max(tat_r - (br - 1) / rate_r, tat_t - (bt - min(w, bt)) / rate_t)
            -- Sums of fractions are off by less than a hundredth of a millisecond.
            if y > x + 0.01 then x, why = ceil(y - 0.01), PACED end
          end
          local h, r, t, k = head, nr, nt, nk
          while true do
            local s = floor(x / S)
            if s < both_end then
              if today >= daily then x, s, why = both_end * S, both_end, DAY
              elseif s < yesterday_ends and before >= daily then x, why = yesterday_ends * S, DAY end
            end
            if s >= both_begin and after >= daily then
              x, why = ceil((max(next_end, dend + (next_end - day_end) / 2) + guard) / S) * S, DAY
            end
            if s <= top and (s == slot and filled or read(s)) >= most_in_slot then x, s, why = (s + 1) * S, s + 1, PACED end
            local need, from = floor((x - span) / S), x
            while true do
              local short = NONE
              if r + 1 > requests then
                short = REQUESTS
              elseif t > 0 and t + w + (k + v > 0 and Z * sqrt(k + v) or 0) > tokens then
                short = TOKENS                 -- an empty window takes whatever is not above the limit itself
              end
              if short == NONE and h >= need then break end
              if h > top then
                r, t, k, h = 0, 0, 0, max(h, need)
              else
                if h >= slot then flush() end
                local a, b, c = read(h)
                r, t, k, h = r - a, t - b, k - c, h + 1
                if short ~= NONE and h * S + span > x then
                  x, why = h * S + span, short
                  need = floor((x - span) / S)
                end
              end
            end
            if x == from then return x, why, h, r, t, k end
          end
        end
      end
      local y, why, h, r, t, k
      if turned then
        y, why, h, r, t, k = earliest(w, v, all, T, D)
      else
        y, why, h, r, t, k = earliest(w, v, requests, tokens, daily)
      end
      if y - now > (turned and H or Hc) then
        dimension, hint = why, y - now
        if Hc == 0 then
          if not turned then y = earliest(w, v, all, T, D) end
          hint = min(hint, max(low - now, y - now - H, 1))
        end
        break
      end
      if h > head or floor(y / S) ~= slot then flush() end
      if h > head then wipe(h) end
      if floor(y / S) ~= slot then
        slot = floor(y / S)
        filled = slot <= top and read(slot) or 0
      end
      x, nr, nt, nk = y, r + 1, t + w, k + v
      if slot < both_end then today = today + 1 end
      if slot < yesterday_ends then before = before + 1 end
      if slot >= both_begin then after = after + 1 end
      -- Turns that could not be had for a minute are had when others have theirs: permits come in bursts.
      if turned then low = (low == 0 and now or max(low, now - span)) + turn / rate_r end
      if burst < 1 then tat_r, tat_t = max(tat_r, x) + 1 / rate_r, max(tat_t, x) + w / rate_t end
      granted = granted + 1
      tau, left = x, -1
    else
      nr, nt, nk, today, left, granted = nr + 1, nt + w, risk, today + 1, left - 1, granted + 1
    end
    pr, pt, pk, filled = pr + 1, pt + w, pk + v, filled + 1
    reply[18 + granted] = x - now
  end
  if granted > 0 then
    tau, top = x, max(top, slot)
    local at = BASE + (slot % N) * SLOT
    if slot ~= cs then
      cs, cr, ct, ck = slot, unpack_at('<I4I4d', call('GETRANGE', K, at, at + SLOT - 1))
    end
    local beyond = max(ct + pt - 4294967295, 0)
    nt, cr, ct, ck = nt - beyond, cr + pr, ct + pt - beyond, ck + pk
    call('SETRANGE', K, at, pack('<I4I4d', cr, ct, ck))
  end
  if most > 0 then
    call('HSET', KEYS[7], ARGV[4], string.format('%d %d', mine + granted, now))
    call('PEXPIRE', KEYS[7], patience + 60000)
  end
  seq = seq + 1
  -- The counters keep their expiry for a second, which is cheaper than to set it with every call.
  if renewed or now >= fresh then
    fresh = now + 1000
    call('SET', KEYS[2], nr, 'PX', span + H + 1000)
    call('SET', KEYS[3], nt, 'PX', span + H + 1000)
    call('SET', KEYS[4], today, 'PXAT', max(dend, raw + 1))
  else
    call('SET', KEYS[2], nr, 'KEEPTTL')
    call('SET', KEYS[3], nt, 'KEEPTTL')
    call('SET', KEYS[4], today, 'KEEPTTL')
  end
  reply[2], reply[3], reply[4], reply[5], reply[6], reply[7], reply[8], reply[9], reply[10], reply[11], reply[12] =
    raw, now, epoch, seq, max(max(hold, listening) - now, 0), live, nr, nt, today, disputed, facts
  reply[13], reply[14], reply[15], reply[16], reply[17], reply[18] =
    luntil > now and lrpm or 0, luntil > now and ltpm or 0, lrpd, dimension, ceil(hint), dend
end
