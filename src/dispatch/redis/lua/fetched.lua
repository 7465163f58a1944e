-- What a gateway has read of its inbox: so many bytes, before this entry.
local inbox, size = unpack(KEYS)
redis.call('XTRIM', inbox, 'MINID', ARGV[1])
if redis.call('EXISTS', size) == 1 and redis.call('INCRBY', size, -tonumber(ARGV[2])) <= 0 then redis.call('DEL', size) end
return 1
