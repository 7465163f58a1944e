-- An entry of a durable job that is not to run: it is over, or nothing is known of it.
local jobs, lane, backlog, pending, job = unpack(KEYS)
local entry, circle, most, id = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if redis.call('XACK', jobs, GROUP, entry) == 0 then return 0 end
redis.call('XDEL', jobs, entry)
redis.call('ZREM', pending, id)
if redis.call('HSTRLEN', job, 'record') == 0 then redis.call('DEL', job) end
hand_out_durable(jobs, lane, backlog, circle, most, 1)
return 1
