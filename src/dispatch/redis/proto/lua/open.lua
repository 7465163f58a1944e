local ids = redis.call('ZREVRANGEBYLEX', pending, before, '-', 'LIMIT', 0, most)
local found = {#ids, ids[#ids] or ''}
for _, id in ipairs(ids) do
  if redis.call('ZSCORE', index, circle .. id) then add(found, id) end
end
return found
