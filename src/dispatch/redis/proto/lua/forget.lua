-- An entry of a durable job that is not to run: it is over, or nothing is known of it.
local jobs, job_counts, backlog, pending = unpack(KEYS)
local entry, circle, most, id = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if redis.call('XACK', jobs, GROUP, entry) == 0 then return 0 end
redis.call('XDEL', jobs, entry)
redis.call('ZREM', pending, id)
-- Where its slot moves just now, what is left of it stays.
local job = partition_key(jobs, 'job:' .. id)
if redis.pcall('HSTRLEN', job, 'record') == 0 then redis.pcall('DEL', job) end
hand_out_durable(jobs, job_counts, backlog, circle, most, 1)
return 1
