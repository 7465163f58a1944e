-- An entry that has done its service.
redis.call('XACK', KEYS[1], GROUP, ARGV[1])
return redis.call('XDEL', KEYS[1], ARGV[1])
