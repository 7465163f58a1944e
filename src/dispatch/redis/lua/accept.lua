-- New deliveries of a circle. For each: 1 its job is kept; 0 too many wait; or the name of the first job, for one
-- that has been here before.
local jobs, lane, backlog, pending = unpack(KEYS, 1, 4)
local circle, gateway, dedupe_for = ARGV[1], ARGV[2], ARGV[3]
local most, most_waiting, replicas = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local room = most - counted(lane, 'durable')
local waiting = redis.call('LLEN', backlog)
local delayed = counted(lane, 'delayed')
local handed = 0
local answers = {}
for i = 0, (#ARGV - 6) / 3 - 1 do
  local id, record, input = unpack(ARGV, 7 + 3 * i, 9 + 3 * i)
  local seen, job = KEYS[5 + 2 * i], KEYS[6 + 2 * i]
  local first = redis.call('GET', seen)
  if first then
    answers[i + 1] = first == id and 1 or first
    -- A write, for those who wait until the replicas have the first one.
    if replicas > 0 then redis.call('SET', seen, first, 'KEEPTTL') end
  elseif waiting + delayed >= most_waiting then
    answers[i + 1] = 0
  else
    if dedupe_for ~= '0' then redis.call('SET', seen, id, 'PX', dedupe_for) end
    redis.call('HSET', job, 'record', record, 'input', input, 'gateway', gateway)
    redis.call('ZADD', pending, 0, id)
    if waiting == 0 and handed < room and #record + #input <= 4096 then
      -- It runs at once, so it takes along what its worker would have to ask for.
      redis.call('XADD', jobs, '*', 'job', id, 'circle', circle, 'record', record, 'input', input, 'gateway', gateway)
      handed = handed + 1
    else
      redis.call('RPUSH', backlog, id)
      waiting = waiting + 1
    end
    answers[i + 1] = 1
  end
end
count(lane, 'durable', handed)
hand_out_durable(jobs, lane, backlog, circle, most)
return answers
