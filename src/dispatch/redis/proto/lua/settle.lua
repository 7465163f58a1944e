redis.call('XACK', jobs, GROUP, entry)
return redis.call('XDEL', jobs, entry)
