-- A new delivery's job, if there is none yet: {1}, {0, the first job's id}, or {-1} where too many wait.
local seen, job, jobs, lane, backlog, pending = unpack(KEYS)
local id, record, input, gateway, circle = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local dedupe_for, most, most_waiting, received_at = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local first = redis.call('GET', seen)
if first == id then return {1} end
if first then return {0, first} end
if redis.call('LLEN', backlog) + counted(lane, 'delayed') >= most_waiting then return {-1} end
redis.call('SET', seen, id, 'PX', dedupe_for)
redis.call('HSET', job, 'record', record, 'input', input, 'gateway', gateway)
redis.call('ZADD', pending, received_at, id)
redis.call('RPUSH', backlog, id)
hand_out_durable(jobs, lane, backlog, circle, most)
return {1}
