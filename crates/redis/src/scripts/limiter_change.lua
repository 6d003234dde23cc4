
-- Adds to a slot, or takes off no more than is there; returns the change. A slot that has left changes nothing.
local function change(i, dr, dt, dk)
  if i < head or i >= head + N then return 0, 0 end
  local r, t, k = read(i)
  local r2, t2, k2 = min(max(r + dr, 0), 4294967295), min(max(t + dt, 0), 4294967295), max(k + dk, 0)
  nr, nt, nk = nr + r2 - r, nt + t2 - t, nk + k2 - k
  call('SETRANGE', K, BASE + (i % N) * SLOT, pack('<I4I4d', r2, t2, k2))
  count, cs = 0, -1
  if i > top then top = i end
  return r2 - r, t2 - t
end
