-- What a circle's log has: the numbers of the oldest event and of the newest, and those from one on, so many at most, and
-- about so many bytes.
local events, event_sequence = KEYS[1], KEYS[2]
local from, most, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
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
