if redis.call('XACK', jobs, GROUP, entry) == 0 then return 0 end
redis.call('XDEL', jobs, entry)
redis.call('ZREM', pending, id)
-- Where its slot moves just now, what is left of it stays.
local job = partition_key(jobs, 'job:' .. id)
if redis.pcall('HSTRLEN', job, 'record') == 0 then redis.pcall('DEL', job) end
hand_out_durable(jobs, job_counts, backlog, circle, most, 1)
return 1
