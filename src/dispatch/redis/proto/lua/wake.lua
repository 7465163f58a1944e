if redis.call('ZREM', delayed, id .. ' ' .. circle) == 0 then return 0 end
add_count(job_counts, 'delayed', -1)
redis.call('RPUSH', backlog, id)
hand_out_durable(jobs, job_counts, backlog, circle, most, 0)
return 1
