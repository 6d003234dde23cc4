
-- The day. Both its ends come from the caller's table of time zones; where two differ, the later one rules.
local disputed = 0
if day_end ~= dend or now >= dend then
  local length = next_end - day_end
  local coming = day_end > now and day_end or next_end
  if coming <= now then coming = now + length end
  if dend == 0 then
    dend, day_start, renewed = coming, coming - length, true
  elseif now >= dend then
    local adjacent = coming - dend <= 1.5 * length
    before, today = adjacent and today or 0, adjacent and after or 0
    day_start = adjacent and dend or coming - length
    after, base, machines, lrpd, dend, renewed = 0, 0, 0, 0, coming, true
  elseif coming ~= dend then
    disputed = 1
    if coming > dend and coming - dend < length / 2 then dend, renewed = coming, true end
  end
end
