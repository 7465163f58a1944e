-- A durable job whose next try is due: it waits for its turn.
local delayed, jobs, lane, backlog = unpack(KEYS)
local id, circle, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('ZREM', delayed, id .. ' ' .. circle) == 0 then return 0 end
count(lane, 'delayed', -1)
redis.call('RPUSH', backlog, id)
hand_out_durable(jobs, lane, backlog, circle, most, 0)
return 1
