-- Of all scripts' keys; the circle's own come behind them. Where too many have expired, they count until they are deleted.
local keys = count_in(store, store_keys, expiring, '', OWN) or redis.call('ZLEXCOUNT', store_keys, '-', '(' .. OWN)
local open = in_stream(jobs, read_count(job_counts, 'durable')) + redis.call('LLEN', backlog)
open = open + math.min(read_count(job_counts, 'delayed'), redis.call('ZCARD', delayed))
-- Names are of hex digits and hyphens.
local function count(of) return redis.call('ZLEXCOUNT', of, '[' .. circle, '(' .. circle .. 'g') end
return {keys, (read_usage(usage)), count(index), open, count(dead_by_circle)}
