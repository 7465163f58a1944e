-- What a gateway has read of its inbox: so many entries, before this one; then each circle, and what its entries count as.
local inbox, size = unpack(KEYS)
local removed = redis.call('XTRIM', inbox, 'MINID', ARGV[1])
if redis.call('XLEN', inbox) == 0 then
  redis.call('DEL', size)
-- If these aren't those that it has read, the inbox has been made anew since, and nothing of them is counted in this one.
elseif removed == tonumber(ARGV[2]) then
  local all = 0
  for i = 3, #ARGV, 2 do
    all = all + tonumber(ARGV[i + 1])
    if redis.call('HINCRBY', size, ARGV[i], '-' .. ARGV[i + 1]) <= 0 then redis.call('HDEL', size, ARGV[i]) end
  end
  if redis.call('HINCRBY', size, 'all', string.format('%.0f', -all)) <= 0 then redis.call('DEL', size) end
end
return 1
