local found = {}
for _ = 1, most do
  local member = redis.call('ZRANGEBYLEX', index, from, '+', 'LIMIT', 0, 1)[1]
  if not member then break end
  -- The job's id comes last, of hex digits and hyphens.
  local circle = member:sub(1, -37)
  add(found, circle)
  from = '(' .. circle .. 'g'
end
return found
