-- The circle is being deleted.
if redis.call('GET', partition_key(jobs, 'lock:' .. circle)) == '!' then
  local refused = {}
  for i = 1, new_jobs do refused[i] = '' end
  return refused
end

-- Returns how many jobs that aren't over have names that begin so.
local function count_open(prefix)
  return redis.call('ZLEXCOUNT', open_jobs, '[' .. prefix, '(' .. prefix .. '\255')
end

-- Removes some jobs that are over from those that aren't and whose names begin so, other ones at another time. There may be
-- some: servers of an earlier version don't know of them.
local MENDED_AT_ONCE = 64
local function mend_open(prefix)
  local count = count_open(prefix)
  if count == 0 then return end
  local before = redis.call('ZLEXCOUNT', open_jobs, '-', '(' .. prefix)
  local from = before + clock() * MENDED_AT_ONCE % count
  local to = math.min(from + MENDED_AT_ONCE, before + count) - 1
  for _, name in ipairs(redis.call('ZRANGE', open_jobs, from, to)) do
    if not redis.call('ZSCORE', pending, name:sub(-36)) then redis.call('ZREM', open_jobs, name) end
  end
end

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

local free = most - in_stream(jobs, read_count(job_counts, 'durable'))
local waiting = redis.call('LLEN', backlog)
local late = math.min(read_count(job_counts, 'delayed'), redis.call('ZCARD', delayed))
local handed, postponed = 0, 0
local answers, of_pending, of_index, of_submitted, emitted, to_mend, marked = {}, {}, {}, {}, {}, {}, {}
for _ = 1, new_jobs do
  take new_jobs
  take submitters if is_submitted

  local refusal
  if caller then
    local own = count_open('g' .. caller) + count_open('m' .. caller)
    if own >= room_of_caller then
      refusal = -1
      to_mend['g' .. caller], to_mend['m' .. caller] = true, true
    elseif is_guest and count_open('g') >= room_of_guests then
      refusal = -2
      to_mend.g = true
    end
  end
  if waiting + late + postponed >= (caller and room or most_waiting) then refusal = refusal or 0 end
  local first
  if chosen_by > 0 and not reads_hold[chosen_by] then
    first = 2
  elseif seen and dedupe_for > 0 and (refusal or not redis.call('SET', seen, id, 'PX', dedupe_for, 'NX')) then
    first = redis.call('GET', seen)
    -- A write, for those who wait until the replicas have the first one.
    if first and replicas > 0 then redis.call('SET', seen, first, 'KEEPTTL') end
    local given_up = first and not caller and redis.call('ZSCORE', dead, first)
    if given_up and first ~= id then
      first = 'dead ' .. first
    elseif given_up and not refusal then
      -- It takes the place of the one that was given up.
      BACKUP.copy_before_retry(jobs, circle, id)
      redis.call('SET', seen, id, 'PX', dedupe_for)
      redis.call('ZREM', dead, id)
      redis.call('ZREM', dead_by_circle, circle .. id)
      redis.call('PERSIST', job)
      first = nil
    elseif given_up then
      first = refusal
    elseif first == id then
      first = 1
    end
  end
  first = first or refusal
  if not first then
    first = 1
    if seen and dedupe_for > 0 then add(marked, seen) end
    local entry
    if due and due ~= '' then
      redis.call('ZADD', delayed, due, id .. ' ' .. circle)
      postponed = postponed + 1
    elseif waiting == 0 and handed < free and #record + #input <= 4096 then
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
      redis.call('ZADD', open_jobs, 0, (is_guest and 'g' or 'm') .. caller .. id)
      add(emitted, event)
    end
  end
  add(answers, first)
end
if #of_pending > 0 then
  redis.call('ZADD', pending, unpack(of_pending))
  redis.call('ZADD', index, unpack(of_index))
end
-- A backup is told of the marks that its look at all keys may not have come to.
local backup_marks = partition_key(jobs, 'backup:marks')
if #marked > 0 and redis.pcall('EXISTS', backup_marks) == 1 then
  for _, mark in ipairs(marked) do
    local id, till = redis.call('GET', mark), string.format('%.0f', BACKUP.expires_at(mark))
    if id then redis.call('RPUSH', backup_marks, table.concat({circle, mark:sub(-64), id, till}, ' ')) end
  end
end
for prefix in pairs(to_mend) do mend_open(prefix) end
if #of_submitted > 0 then redis.call('ZADD', submitted, unpack(of_submitted)) end
if #emitted > 0 then emit(jobs, event_sequence, events, event_excess, watchers, circle, log_length, log_bytes, inbox_length, inbox_bytes, emitted) end
add_count(job_counts, 'delayed', postponed)
hand_out_durable(jobs, job_counts, backlog, circle, most, -handed)
if inbox then send_outcomes(inbox, circle, inbox_length, inbox_bytes, {barrier, ''}) end
return answers
