-- An entry of a durable job that is not to run: it is over, or nothing is known of it.
local jobs, lane, backlog = unpack(KEYS)
local entry, circle, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('XACK', jobs, GROUP, entry) == 0 then return 0 end
redis.call('XDEL', jobs, entry)
count(lane, 'durable', -1)
hand_out_durable(jobs, lane, backlog, circle, most)
return 1
