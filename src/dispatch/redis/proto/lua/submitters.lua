local found, after = {}, ''
for _ = 1, most do
  -- Names are of hex digits and hyphens.
  local member = redis.call('ZRANGEBYLEX', submitted, '(' .. circle .. after, '(' .. circle .. 'g', 'LIMIT', 0, 1)[1]
  if not member then break end
  local caller = member:sub(#circle + 1, -37)
  add(found, caller)
  after = caller .. 'g'
end
return found
