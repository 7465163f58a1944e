-- Takes a play back. 1: nothing of it lands any more. 0: it has been committed, or never came here.
local jobs, lane, queue, plays = unpack(KEYS)
local most, id = tonumber(ARGV[1]), ARGV[2]
local state = redis.call('HGET', plays, id)
if not state then return 0 end
redis.call('HDEL', plays, id)
if state:find('^%d+%-%d+$') then
  redis.call('XACK', jobs, GROUP, state)
  redis.call('XDEL', jobs, state)
  count(lane, 'plays', -1)
  hand_out_plays(jobs, lane, queue, plays, most)
else
  redis.call('LREM', queue, 1, id)
end
return 1
