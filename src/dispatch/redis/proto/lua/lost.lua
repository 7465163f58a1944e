-- Which of these jobs are not this worker's any more: cancelled, or taken over.
local jobs, me = KEYS[1], ARGV[1]
local lost = {}
for i = 2, #ARGV do
  if #redis.call('XPENDING', jobs, GROUP, ARGV[i], ARGV[i], 1, me) == 0 then lost[#lost + 1] = ARGV[i] end
end
return lost
