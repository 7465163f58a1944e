-- A dead job that is to run again. 0: it isn't dead.
local dead, job, pending, jobs, lane, backlog = unpack(KEYS)
local id, record, circle, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if redis.call('ZREM', dead, id) == 0 or redis.call('EXISTS', job) == 0 then return 0 end
redis.call('HSET', job, 'record', record)
redis.call('PERSIST', job)
redis.call('ZADD', pending, 0, id)
redis.call('RPUSH', backlog, id)
hand_out_durable(jobs, lane, backlog, circle, most, 0)
return 1
