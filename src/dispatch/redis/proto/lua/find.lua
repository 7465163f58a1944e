local namespace, partition = jobs:match('^(.*:)(%d+}:)jobs$')
-- What would have a meaning in a pattern.
local pattern = namespace:gsub('[%*%?%[%]%^\\]', '\\%0') .. (everywhere and '*' or partition) .. '*' .. about .. '*'
local next_cursor, names = unpack(redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', most))
local circles, marks = {}, {}
for _, name in ipairs(names) do
  local kind, circle, identity
  if name:sub(1, #namespace) == namespace then
    kind, circle, identity = name:sub(#namespace + 1):match('^%d+}:([%a_]+):(%x+):?(%x*)$')
  end
  if (kind == 'seen' or kind == 'final') and #identity == 64 then
    local id = redis.call('GET', name)
    if id then add(marks, {circle, identity, id, string.format('%.0f', BACKUP.expires_at(name))}) end
  elseif kind == 'store' or kind == 'usage' or kind == 'event_sequence' then
    add(circles, circle)
  end
end
return {next_cursor, circles, marks}
