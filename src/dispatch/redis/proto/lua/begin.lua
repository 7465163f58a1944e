-- Counts a run that begins, of a job that was another worker's before: it is this one, however often that is said.
-- 0: the job is not this worker's any more.
local jobs, me, entry, begun = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if #redis.call('XPENDING', jobs, GROUP, entry, entry, 1, me) == 0 then return 0 end
redis.call('XCLAIM', jobs, GROUP, me, 0, entry, 'RETRYCOUNT', begun, 'JUSTID')
return 1
