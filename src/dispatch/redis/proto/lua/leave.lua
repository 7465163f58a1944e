redis.call('DEL', alive)
local held = redis.call('XPENDING', jobs, GROUP, '-', '+', 100000, me)
local has_not_begun = {}
for _ = 1, not_begun do
  take not_begun
  has_not_begun[entry] = true
end
for _, job in ipairs(held) do
  if not has_not_begun[job[1]] then
    redis.call('XCLAIM', jobs, GROUP, me, 0, job[1], 'RETRYCOUNT', math.max(job[4] - 1, 0), 'JUSTID')
  end
end
if #held > 0 then
  redis.call('XADD', jobs, '*', 'gone', me)
  return 1
end
redis.call('XGROUP', 'DELCONSUMER', jobs, GROUP, me)
return 0
