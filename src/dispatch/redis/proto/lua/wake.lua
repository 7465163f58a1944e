-- A durable job whose next try is due: it waits for its turn.
local delayed, jobs, job_counts, backlog = unpack(KEYS)
local id, circle, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('ZREM', delayed, id .. ' ' .. circle) == 0 then return 0 end
add_count(job_counts, 'delayed', -1)
redis.call('RPUSH', backlog, id)
hand_out_durable(jobs, job_counts, backlog, circle, most, 0)
return 1
