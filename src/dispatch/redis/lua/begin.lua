-- Counts a run that begins, of a job that was another worker's before. Answers which one it is; 0: the job is
-- not this worker's any more.
local jobs, me, entry = KEYS[1], ARGV[1], ARGV[2]
local held = redis.call('XPENDING', jobs, GROUP, entry, entry, 1, me)
if #held == 0 then return 0 end
local begun = held[1][4] + 1
redis.call('XCLAIM', jobs, GROUP, me, 0, entry, 'RETRYCOUNT', begun, 'JUSTID')
return begun
