-- Goes before every script that hands jobs out. A circle's lane: how many of its plays and durable jobs are
-- in the stream, and how many durable ones wait for their next try.

local GROUP = 'workers'

local function counted(lane, what)
  return tonumber(redis.call('HGET', lane, what) or '0')
end

local function count(lane, what, by)
  if by ~= 0 and redis.call('HINCRBY', lane, what, by) <= 0 then
    redis.call('HDEL', lane, what)
  end
end

-- Plays that wait, first in first out, as long as there is room for them in the stream.
local function hand_out_plays(jobs, lane, queue, plays, most)
  local room = most - counted(lane, 'plays')
  local handed = 0
  while handed < room do
    local id = redis.call('LPOP', queue)
    if not id then break end
    local play = redis.call('HGET', plays, id)
    if play then
      redis.call('HSET', plays, id, redis.call('XADD', jobs, '*', 'play', play))
      handed = handed + 1
    end
  end
  count(lane, 'plays', handed)
end

-- Durable jobs that wait, first in first out, as long as fewer of them run than may.
local function hand_out_durable(jobs, lane, backlog, circle, most)
  local room = most - counted(lane, 'durable')
  local handed = 0
  while handed < room do
    local id = redis.call('LPOP', backlog)
    if not id then break end
    redis.call('XADD', jobs, '*', 'job', id, 'circle', circle)
    handed = handed + 1
  end
  count(lane, 'durable', handed)
end

