-- A job that was given up or stopped, and is to run again. 0: its record isn't so any more.
local jobs, lane, backlog, pending, dead, job, told, events, watchers = unpack(KEYS)
local id, circle, most, before, record = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local inbox_length, log_length, event = ARGV[6], ARGV[7], ARGV[8]
if redis.call('HGET', job, 'record') ~= before then return 0 end
redis.call('ZREM', dead, id)
redis.call('HSET', job, 'record', record)
redis.call('PERSIST', job)
redis.call('ZADD', pending, 0, id)
redis.call('RPUSH', backlog, id)
if event ~= '' then emit(jobs, told, events, watchers, circle, log_length, inbox_length, {event}) end
hand_out_durable(jobs, lane, backlog, circle, most, 0)
return 1
