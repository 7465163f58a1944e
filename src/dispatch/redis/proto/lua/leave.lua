-- A worker goes: whatever it holds is another's at once. It didn't die of any of that, so no run of it here
-- counts; but what was others' before, and hasn't begun here, keeps its count.
local jobs, alive, me = KEYS[1], KEYS[2], ARGV[1]
redis.call('DEL', alive)
local held = redis.call('XPENDING', jobs, GROUP, '-', '+', 100000, me)
local not_begun = {}
for i = 2, #ARGV do not_begun[ARGV[i]] = true end
for _, job in ipairs(held) do
  if not not_begun[job[1]] then
    redis.call('XCLAIM', jobs, GROUP, me, 0, job[1], 'RETRYCOUNT', math.max(job[4] - 1, 0), 'JUSTID')
  end
end
if #held > 0 then
  redis.call('XADD', jobs, '*', 'gone', me)
  return 1
end
redis.call('XGROUP', 'DELCONSUMER', jobs, GROUP, me)
return 0
