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

-- The name of a play; it comes first.
local function name_of(play)
  return play:match('"id":"([^"]*)"')
end

-- So many plays have ended: those that wait, first in first out, as long as there is room for them in the stream.
local function hand_out_plays(jobs, lane, queue, plays, most, ended)
  local room = most - counted(lane, 'plays') + ended
  local handed = 0
  while handed < room do
    local id = redis.call('LPOP', queue)
    if not id then break end
    local play = redis.call('HGET', plays, id)
    if play then
      redis.call('HSET', plays, id, redis.call('XADD', jobs, '*', 'waited', play))
      handed = handed + 1
    end
  end
  count(lane, 'plays', handed - ended)
end

-- So many durable jobs have ended: those that wait, first in first out, as long as fewer of them run than may.
local function hand_out_durable(jobs, lane, backlog, circle, most, ended)
  local room = most - counted(lane, 'durable') + ended
  local handed = 0
  while handed < room do
    local id = redis.call('LPOP', backlog)
    if not id then break end
    local entry = redis.call('XADD', jobs, '*', 'job', id, 'circle', circle)
    -- The job's hash, beside the stream. Where its slot moves just now, it goes without.
    redis.pcall('HSET', jobs:gsub('jobs$', 'job:') .. id, 'entry', entry)
    handed = handed + 1
  end
  count(lane, 'durable', handed - ended)
end

