if redis.call('EXISTS', alive) == 1 then return {} end
local held = redis.call('XPENDING', jobs, GROUP, '-', '+', most, silent)
if #held == 0 then
  redis.call('XGROUP', 'DELCONSUMER', jobs, GROUP, silent)
  return {}
end
local taken = {}
for _, job in ipairs(held) do
  local entry, begun = job[1], job[4]
  local claimed = redis.call('XCLAIM', jobs, GROUP, me, 0, entry, 'RETRYCOUNT', begun)
  if claimed[1] then
    taken[#taken + 1] = {entry, begun, claimed[1][2]}
  else
    redis.call('XACK', jobs, GROUP, entry)
  end
end
return taken
