-- A worker goes: whatever it holds is another's at once.
local jobs, alive, me = KEYS[1], KEYS[2], ARGV[1]
redis.call('DEL', alive)
if #redis.call('XPENDING', jobs, GROUP, '-', '+', 1, me) > 0 then
  redis.call('XADD', jobs, '*', 'gone', me)
  return 1
end
redis.call('XGROUP', 'DELCONSUMER', jobs, GROUP, me)
return 0
