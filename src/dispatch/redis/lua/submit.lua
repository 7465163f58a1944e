-- A circle's new plays. For each: its entry in the stream; 1 it waits for its turn, 0 too many wait.
local jobs, lane, queue, plays = unpack(KEYS)
local most, most_waiting = tonumber(ARGV[1]), tonumber(ARGV[2])
local room = most - counted(lane, 'plays')
local waiting = redis.call('LLEN', queue)
local handed = 0
local answers = {}
for i = 3, #ARGV do
  local play = ARGV[i]
  local answer = 0
  if waiting == 0 and handed < room then
    answer = redis.call('XADD', jobs, '*', 'play', play)
    handed = handed + 1
  elseif waiting < most_waiting then
    local id = name_of(play)
    redis.call('RPUSH', queue, id)
    redis.call('HSET', plays, id, play)
    waiting = waiting + 1
    answer = 1
  end
  answers[i - 2] = answer
end
count(lane, 'plays', handed)
return answers
