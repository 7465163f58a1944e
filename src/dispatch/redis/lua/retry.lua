-- A job that was given up or stopped, and is to run again. 0: its record isn't so any more.
local jobs, job_counts, backlog, pending, delayed, dead, job, event_sequence, events, watchers = unpack(KEYS)
local id, circle, most, before, record = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local due, input = ARGV[6], ARGV[7]
local inbox_length, inbox_bytes, log_length, event = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], ARGV[11]
if redis.call('HGET', job, 'record') ~= before then return 0 end
redis.call('ZREM', dead, id)
redis.call('HSET', job, 'record', record)
if input ~= '' then redis.call('HSET', job, 'input', input) end
redis.call('PERSIST', job)
redis.call('ZADD', pending, 0, id)
if due ~= '' then
  redis.call('ZADD', delayed, due, id .. ' ' .. circle)
  add_count(job_counts, 'delayed', 1)
else
  redis.call('RPUSH', backlog, id)
end
emit(jobs, event_sequence, events, watchers, circle, log_length, inbox_length, inbox_bytes, {event})
hand_out_durable(jobs, job_counts, backlog, circle, most, 0)
return 1
