local removed = redis.call('XTRIM', inbox, 'MINID', before)
if redis.call('XLEN', inbox) == 0 then
  redis.call('DEL', inbox_bytes)
-- If these aren't those that it has read, the inbox has been made anew since, and nothing of them is counted in this one.
elseif removed == read then
  local all = 0
  for _ = 1, counts do
    take counts
    all = all + bytes
    if redis.call('HINCRBY', inbox_bytes, circle, string.format('%.0f', -bytes)) <= 0 then
      redis.call('HDEL', inbox_bytes, circle)
    end
  end
  if redis.call('HINCRBY', inbox_bytes, 'all', string.format('%.0f', -all)) <= 0 then redis.call('DEL', inbox_bytes) end
end
return 1
