-- Removes some of the circle's entries of a list. Returns them.
local function remove_some(list)
  local names = redis.call('ZRANGEBYLEX', list, '[' .. circle, '(' .. circle .. 'g', 'LIMIT', 0, most)
  if #names > 0 then redis.call('ZREM', list, unpack(names)) end
  return names
end

local names = remove_some(index)
for _, name in ipairs(names) do
  local id = name:sub(-36)
  redis.call('ZREM', pending, id)
  redis.call('ZREM', delayed, id .. ' ' .. circle)
  redis.call('ZREM', dead, id)
  redis.call('UNLINK', partition_key(jobs, 'job:' .. id))
end
return math.max(#names, #remove_some(submitted), #remove_some(dead_by_circle))
