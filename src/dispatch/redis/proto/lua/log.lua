local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)
local found, bytes = {}, 0
while #found < most and bytes < most_bytes do
  local some = redis.call('XRANGE', events, from, '+', 'COUNT', math.min(most - #found, 8))
  for _, event in ipairs(some) do
    if bytes >= most_bytes then break end
    bytes = bytes + #event[2][2]
    add(found, event)
  end
  if #some < 8 then break end
  from = '(' .. some[#some][1]
end
return {first[1] and first[1][1] or '0-0', redis.call('GET', event_sequence) or '0', found}
