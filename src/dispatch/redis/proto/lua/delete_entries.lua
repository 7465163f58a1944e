local found = redis.call('XRANGE', jobs, from, '+', 'COUNT', most)
for _, entry in ipairs(found) do
  local id, fields, of = entry[1], entry[2], nil
  for i = 1, #fields, 2 do
    if fields[i] == 'circle' then of = of or fields[i + 1] end
    -- It comes before anything that a caller has written.
    if fields[i] == 'play' or fields[i] == 'waited' then of = of or fields[i + 1]:match('"circle":"(%x+)"') end
  end
  if of == circle then
    redis.call('XACK', jobs, GROUP, id)
    redis.call('XDEL', jobs, id)
  end
end
if #found < most then return '' end
return '(' .. found[#found][1]
