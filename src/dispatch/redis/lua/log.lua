-- What a circle's log has: the numbers of the oldest event and of the newest, and those from one on.
local events, told = KEYS[1], KEYS[2]
local from, most = ARGV[1], ARGV[2]
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)
local found = {}
if most ~= '0' then found = redis.call('XRANGE', events, from, '+', 'COUNT', most) end
return {first[1] and first[1][1] or '0-0', redis.call('GET', told) or '0', found}
