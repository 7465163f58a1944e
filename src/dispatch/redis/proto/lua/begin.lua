if #redis.call('XPENDING', jobs, GROUP, entry, entry, 1, me) == 0 then return 0 end
redis.call('XCLAIM', jobs, GROUP, me, 0, entry, 'RETRYCOUNT', begun, 'JUSTID')
return 1
