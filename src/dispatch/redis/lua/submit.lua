-- A circle's new plays. For each: 1 it may run, 2 it waits for its turn, 0 too many wait.
local jobs, lane, queue, plays = unpack(KEYS)
local most, most_waiting = tonumber(ARGV[1]), tonumber(ARGV[2])
local room = most - counted(lane, 'plays')
local waiting = redis.call('LLEN', queue)
local handed = 0
local answers = {}
for i = 3, #ARGV, 2 do
  local id, play = ARGV[i], ARGV[i + 1]
  if waiting == 0 and handed < room then
    redis.call('HSET', plays, id, redis.call('XADD', jobs, '*', 'play', play))
    handed = handed + 1
    answers[#answers + 1] = 1
  elseif waiting < most_waiting then
    redis.call('RPUSH', queue, id)
    redis.call('HSET', plays, id, play)
    waiting = waiting + 1
    answers[#answers + 1] = 2
  else
    answers[#answers + 1] = 0
  end
end
count(lane, 'plays', handed)
return answers
