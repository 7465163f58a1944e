-- Returns true if the reads hold that each hook script was chosen by.
local reads_hold = {}
for i = 1, hook_scripts do
  take hook_scripts
  reads_hold[i] = true
  for _ = 1, num_reads do
    take reads
    if not matches(redis.call('HGET', store, key), expected) then reads_hold[i] = false end
  end
end

local room = most - in_stream(jobs, read_count(job_counts, 'durable'))
local waiting = redis.call('LLEN', backlog)
local late = math.min(read_count(job_counts, 'delayed'), redis.call('ZCARD', delayed))
local handed, postponed = 0, 0
local answers, of_pending, of_index, of_submitted, emitted = {}, {}, {}, {}, {}
for _ = 1, new_jobs do
  take new_jobs
  take submitters if is_submitted

  -- What callers submit leaves half of the room to deliveries.
  local room_for_it = caller and math.ceil(most_waiting / 2) or most_waiting
  local is_full = waiting + late + postponed >= room_for_it
  local first
  if chosen_by > 0 and not reads_hold[chosen_by] then
    first = 2
  elseif seen and dedupe_for > 0 and (is_full or not redis.call('SET', seen, id, 'PX', dedupe_for, 'NX')) then
    first = redis.call('GET', seen)
    -- A write, for those who wait until the replicas have the first one.
    if first and replicas > 0 then redis.call('SET', seen, first, 'KEEPTTL') end
    local given_up = first and not caller and redis.call('ZSCORE', dead, first)
    if given_up and first ~= id then
      first = 'dead ' .. first
    elseif given_up and not is_full then
      -- It takes the place of the one that was given up.
      redis.call('SET', seen, id, 'PX', dedupe_for)
      redis.call('ZREM', dead, id)
      redis.call('ZREM', dead_by_circle, circle .. id)
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
if inbox then send_outcomes(inbox, circle, inbox_length, inbox_bytes, {barrier, ''}) end
return answers
