-- New durable jobs of a circle. For each: 1 it is kept; 0 too many wait; 2 what its script was chosen by isn't so any
-- more; or the name of the first job, for one that has been here before, with "dead " before it where that is a
-- delivery's and was given up: then it is to come again under that name.
local jobs, job_counts, backlog, pending, index, submitted, delayed, store, event_sequence, events, watchers = unpack(KEYS, 1, 11)
local circle, gateway, dedupe_for = ARGV[1], ARGV[2], ARGV[3]
local most, most_waiting, replicas = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local inbox_length, log_length, inbox_bytes = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])

local at, at_key = 9, 11
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_key()
  at_key = at_key + 1
  return KEYS[at_key]
end

-- What scripts were chosen by: what stood in the store.
local reads_hold = {}
for i = 1, tonumber(take()) do
  reads_hold[i] = true
  for _ = 1, tonumber(take()) do
    local value = redis.call('HGET', store, take())
    if not matches(value, take()) then reads_hold[i] = false end
  end
end

local room = most - in_stream(jobs, read_count(job_counts, 'durable'))
local waiting = redis.call('LLEN', backlog)
local late = math.min(read_count(job_counts, 'delayed'), redis.call('ZCARD', delayed))
local handed, postponed = 0, 0
local dead = partition_key(jobs, 'dead')
local answers, of_pending, of_index, of_submitted, emitted = {}, {}, {}, {}, {}
while at < #ARGV do
  local id, record, input, chosen_by, kind = take(), take(), take(), take(), take()
  local job = take_key()
  -- 'd' a delivery, 'o' somebody's own; 'D' and 'O' one that may have been here before.
  local caller, due, event, seen
  if kind == 'o' or kind == 'O' then caller, due, event = take(), take(), take() end
  if kind == 'D' or kind == 'O' then seen = take_key() end

  -- What callers submit leaves half of the room to deliveries.
  local room_for_it = caller and math.ceil(most_waiting / 2) or most_waiting
  local is_full = waiting + late + postponed >= room_for_it
  local first
  if chosen_by ~= '' and not reads_hold[tonumber(chosen_by)] then
    first = 2
  elseif seen and dedupe_for ~= '0' and (is_full or not redis.call('SET', seen, id, 'PX', dedupe_for, 'NX')) then
    first = redis.call('GET', seen)
    -- A write, for those who wait until the replicas have the first one.
    if first and replicas > 0 then redis.call('SET', seen, first, 'KEEPTTL') end
    local given_up = first and kind == 'D' and redis.call('ZSCORE', dead, first)
    if given_up and first ~= id then
      first = 'dead ' .. first
    elseif given_up and not is_full then
      -- It takes the place of the one that was given up.
      redis.call('SET', seen, id, 'PX', dedupe_for)
      redis.call('ZREM', dead, id)
      redis.call('PERSIST', job)
      first = nil
    elseif given_up then
      first = 0
    elseif first == id then
      first = 1
    end
  end
  if not first and is_full then first = 0 end
  if not first then
    first = 1
    local entry
    if due and due ~= '' then
      redis.call('ZADD', delayed, due, id .. ' ' .. circle)
      postponed = postponed + 1
    elseif waiting == 0 and handed < room and #record + #input <= 4096 then
      -- It runs at once, so it takes along what its worker would have to ask for.
      entry = redis.call('XADD', jobs, '*', 'job', id, 'circle', circle, 'record', record, 'input', input, 'gateway', gateway)
      handed = handed + 1
    else
      redis.call('RPUSH', backlog, id)
      waiting = waiting + 1
    end
    if entry then
      redis.call('HSET', job, 'record', record, 'input', input, 'gateway', gateway, 'entry', entry)
    else
      redis.call('HSET', job, 'record', record, 'input', input, 'gateway', gateway)
    end
    add(of_pending, 0)
    add(of_pending, id)
    add(of_index, 0)
    add(of_index, circle .. id)
    if caller then
      add(of_submitted, 0)
      add(of_submitted, circle .. caller .. id)
      add(emitted, event)
    end
  end
  add(answers, first)
end
if #of_pending > 0 then
  redis.call('ZADD', pending, unpack(of_pending))
  redis.call('ZADD', index, unpack(of_index))
end
if #of_submitted > 0 then redis.call('ZADD', submitted, unpack(of_submitted)) end
if #emitted > 0 then emit(jobs, event_sequence, events, watchers, circle, log_length, inbox_length, inbox_bytes, emitted) end
add_count(job_counts, 'delayed', postponed)
hand_out_durable(jobs, job_counts, backlog, circle, most, -handed)
return answers
