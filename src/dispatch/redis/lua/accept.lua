-- New deliveries of a circle. For each: 1 its job is kept; 0 too many wait; or the name of the first job, for one
-- that has been here before.
local jobs, lane, backlog, pending, index = unpack(KEYS, 1, 5)
local circle, gateway, dedupe_for = ARGV[1], ARGV[2], ARGV[3]
local most, most_waiting, replicas = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local room = most - counted(lane, 'durable')
local waiting = redis.call('LLEN', backlog)
local delayed = counted(lane, 'delayed')
local handed = 0
local answers, of_pending, of_index = {}, {}, {}
for i = 0, (#ARGV - 6) / 3 - 1 do
  local id, record, input = unpack(ARGV, 7 + 3 * i, 9 + 3 * i)
  local seen, job = KEYS[6 + 2 * i], KEYS[7 + 2 * i]
  local is_full = waiting + delayed >= most_waiting
  local first
  if is_full or dedupe_for == '0' or not redis.call('SET', seen, id, 'PX', dedupe_for, 'NX') then
    first = redis.call('GET', seen)
  end
  if first then
    answers[i + 1] = first == id and 1 or first
    -- A write, for those who wait until the replicas have the first one.
    if replicas > 0 then redis.call('SET', seen, first, 'KEEPTTL') end
  elseif is_full then
    answers[i + 1] = 0
  else
    if waiting == 0 and handed < room and #record + #input <= 4096 then
      -- It runs at once, so it takes along what its worker would have to ask for.
      local entry = redis.call('XADD', jobs, '*', 'job', id, 'circle', circle, 'record', record, 'input', input, 'gateway', gateway)
      redis.call('HSET', job, 'record', record, 'input', input, 'gateway', gateway, 'entry', entry)
      handed = handed + 1
    else
      redis.call('HSET', job, 'record', record, 'input', input, 'gateway', gateway)
      redis.call('RPUSH', backlog, id)
      waiting = waiting + 1
    end
    local n = #of_pending
    of_pending[n + 1], of_pending[n + 2] = 0, id
    of_index[n + 1], of_index[n + 2] = 0, circle .. id
    answers[i + 1] = 1
  end
end
if #of_pending > 0 then
  redis.call('ZADD', pending, unpack(of_pending))
  redis.call('ZADD', index, unpack(of_index))
end
hand_out_durable(jobs, lane, backlog, circle, most, -handed)
return answers
