-- What runs in one circle came to, one after another; each lands as a whole or not at all. For each: 'done';
-- 'gone', it isn't pending any more; 'quota'; 'superseded'; or what it had read has changed: the values that
-- it had read, as they are now.
-- While a run has locked the circle, whoever else has read or written something commits nothing, and is told 'locked'.
local jobs, job_counts, waiting_callers, waiting_plays, plays, backlog, store, store_keys, usage, pending, delayed, dead, lock, commit_watchers = unpack(KEYS, 1, 14)
local circle, most, quota, inbox_length, log_length = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local inbox_bytes, most_waiting, locked_by = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]

local holder = redis.call('GET', lock)
if holder and holder ~= locked_by and locked_by ~= '*' then return 'locked' end
if holder == locked_by then redis.call('DEL', lock) end

local at = 8
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_key()
  return KEYS[tonumber(take())]
end
local function take_number()
  return tonumber(take())
end

-- How long the value of a key is, if it has one.
local function kept(key)
  local length = redis.call('HSTRLEN', store, key)
  if length > 0 or redis.call('HEXISTS', store, key) == 1 then return length end
  return nil
end

-- Returns whether a range, read as it was, has the keys that it had, by their hash.
local function range_holds(start, reverse, stop, limit, hash)
  local command, one, other = 'ZRANGEBYLEX', '[' .. start, '(' .. stop
  if reverse then command, one, other = 'ZREVRANGEBYLEX', other, one end
  local found = redis.call(command, store_keys, one, other, 'LIMIT', 0, limit)
  for i, key in ipairs(found) do found[i] = #key .. ':' .. key end
  return redis.sha1hex(table.concat(found)) == hash
end

-- What happens in one go at the end. A call commits two thousand runs at most, so all of it fits the stack.
local entries, without_effects, waited, over, outcomes_by_inbox, events = {}, {}, {}, {}, {}, {}
-- The entries of plays, by caller; '' until one is named.
local caller, ended = '', {}
local log

-- Whether somebody listens to the circle.
local has_watchers
local function listened()
  if has_watchers == nil then has_watchers = redis.call('EXISTS', KEYS[log + 2]) == 1 end
  return has_watchers
end

-- Returns how many durable jobs wait for their time, or for a place in the stream once so many more have come.
local function waiting_jobs(new)
  local free = math.max(most - in_stream(jobs, read_count(job_counts, 'durable')), 0)
  local late = math.min(read_count(job_counts, 'delayed'), redis.call('ZCARD', delayed))
  return late + math.max(redis.call('LLEN', backlog) + new - free, 0)
end

-- Puts a durable job where it waits for its turn or for its time: a new one, or one that was over.
local has_submitted = false
local function submit_job(job, id, record, input, replaced, submitter, due, gateway)
  redis.call('HSET', job, 'record', record)
  if input ~= '' then redis.call('HSET', job, 'input', input) end
  if replaced ~= '' then
    redis.call('ZREM', dead, id)
    redis.call('PERSIST', job)
  else
    redis.call('HSET', job, 'gateway', gateway)
    redis.call('ZADD', partition_key(jobs, 'index'), 0, circle .. id)
    if submitter ~= '' then redis.call('ZADD', partition_key(jobs, 'submitted'), 0, circle .. submitter .. id) end
  end
  redis.call('ZADD', pending, 0, id)
  if due ~= '' then
    redis.call('ZADD', delayed, due, id .. ' ' .. circle)
    add_count(job_counts, 'delayed', 1)
  else
    redis.call('RPUSH', backlog, id)
  end
  has_submitted = true
end

local answers = {}
local ended_durable = 0
-- The size of the store, the number of the last commit that changed it, and what those of this call have written.
local size, commit
local commits = {}
while at < #ARGV do
  -- 0 a durable job, 1 a play, 2 a play that had to wait; 3 and 4 the same, of another caller than the one before; or
  -- effects that are no claimed job's.
  local entry, id, kind = take(), take(), take()
  local is_claimed = kind ~= 'effects'
  local is_play = is_claimed and kind ~= '0'
  if kind == '3' or kind == '4' then caller = take() end
  local inbox, message, reads = take_key(), take(), take_number()

  local reads_hold, values, writes, emitted, submitted, after, has_room = true, {}, {}, {}, {}, nil, true
  if reads then
    -- First keys, each with its value; then ranges.
    for i = 1, reads do
      local start, found = take(), take()
      if found == '>' or found == '<' then
        local stop, limit, hash = take(), take(), take()
        reads_hold = reads_hold and range_holds(start, found == '<', stop, limit, hash)
      else
        values[i] = redis.call('HGET', store, start)
        if not matches(values[i], found) then reads_hold = false end
      end
    end
    if not size then
      -- An earlier version had no number.
      local bytes, number = (redis.call('GET', usage) or ''):match('^(%d+) ?(%d*)$')
      size, commit = tonumber(bytes or '0'), tonumber(number or '') or 0
    end
    after = size
    -- First what is kept, then what is deleted: a value may be empty.
    for _ = 1, take_number() do
      local key, value = take(), take()
      local old = kept(key)
      if old then after = after - #key - old end
      after = after + #key + #value
      add(writes, {key, value, old})
    end
    for _ = 1, take_number() do
      local key = take()
      local old = kept(key)
      if old then after = after - #key - old end
      add(writes, {key, nil, old})
    end
    local count = take_number()
    -- Their number, the log and who listens: three keys.
    if count > 0 then log = take_number() end
    for i = 1, count do emitted[i] = take() end
    for i = 1, take_number() do
      local key, name, record, input, replaced = take_key(), take(), take(), take(), take()
      local submitter, due, room, gateway = take(), take(), take_number(), take()
      submitted[i] = {key, name, record, input, replaced, submitter, due, gateway}
      if replaced == '' then
        has_room = has_room and waiting_jobs(i - 1) < room
      elseif not matches(redis.call('HGET', key, 'record'), replaced) then
        reads_hold = false
      end
    end
  end

  local job, status, record, keep_for, time, absent, final, is_routine
  if kind == '0' then
    job, status, record = take_key(), take(), take()
    if status ~= 'pending' then keep_for = take() end
    if status ~= 'finished' then time = take() end
    local series = take()
    if series == 'void after' then absent = take_key() end
    if series == 'final' then final = take_key() end
    is_routine = take() == '1'
  end

  local answer = 'done'
  if not reads_hold then
    table.insert(values, 1, 'conflict')
    answer = values
  elseif after and after > quota and after > size then
    answer = 'quota'
  elseif not has_room then
    answer = 'backlog'
  elseif absent and redis.call('EXISTS', absent) == 1 then
    answer = 'superseded'
  elseif is_play and #writes == 0 and #emitted == 0 and #submitted == 0 then
    -- It leaves nothing but its outcome, of which the first one counts.
    add(without_effects, entry)
  elseif is_claimed and redis.call('XACK', jobs, GROUP, entry) == 0 then
    answer = 'gone'
  else
    for _, write in ipairs(writes) do
      local key, value, old = write[1], write[2], write[3]
      if value then
        redis.call('HSET', store, key, value)
        if not old then redis.call('ZADD', store_keys, 0, key) end
      else
        redis.call('HDEL', store, key)
        redis.call('ZREM', store_keys, key)
      end
    end
    if #writes > 0 then
      size, commit = after, commit + 1
      add(commits, writes)
    end
    -- What is told of the job comes last. Where that is routine, it is for whoever listens.
    if is_routine and not listened() then emitted[#emitted] = nil end
    for _, event in ipairs(emitted) do add(events, event) end
    for _, submitted_job in ipairs(submitted) do submit_job(unpack(submitted_job)) end
    if kind == '0' then
      ended_durable = ended_durable + 1
      redis.call('HSET', job, 'record', record)
      if status == 'pending' then
        redis.call('ZADD', delayed, time, id .. ' ' .. circle)
        add_count(job_counts, 'delayed', 1)
      else
        add(over, id)
        redis.call('PEXPIRE', job, keep_for)
        if status == 'dead' then redis.call('ZADD', dead, time, id) end
        if final then redis.call('SET', final, id) end
      end
    end
  end
  if answer == 'done' and is_claimed then
    if not is_play then
      add(entries, entry)
    else
      local whose = caller
      -- Its worker couldn't read it.
      if whose == '' then
        local found = redis.call('XRANGE', jobs, entry, entry)[1]
        if found then whose = caller_of(found[2][2]) end
      end
      ended[whose] = ended[whose] or {}
      add(ended[whose], entry)
    end
    if kind == '2' or kind == '4' then add(waited, id) end
    if inbox then
      local outcomes = outcomes_by_inbox[inbox] or {}
      outcomes_by_inbox[inbox] = outcomes
      add(outcomes, id)
      add(outcomes, message)
    end
  end
  add(answers, answer)
end

if #without_effects > 0 then redis.call('XACK', jobs, GROUP, unpack(without_effects)) end
if #entries > 0 then redis.call('XDEL', jobs, unpack(entries)) end
-- Of each caller, those that were there until now.
for whose, entries in pairs(ended) do ended[whose] = redis.call('XDEL', jobs, unpack(entries)) end
if #commits > 0 then
  redis.call('SET', usage, string.format('%.0f %.0f', size, commit))
  local gateways = redis.call('SMEMBERS', commit_watchers)
  if #gateways > 0 then
    local messages = {}
    for i, writes in ipairs(commits) do
      local keys = {}
      for n, write in ipairs(writes) do keys[n] = #write[1] .. ':' .. write[1] end
      add(messages, string.format('%s commit %.0f', circle, commit - #commits + i))
      add(messages, table.concat(keys))
    end
    send_to(gateways, jobs, commit_watchers, circle, inbox_length, inbox_bytes, messages)
  end
end
if #waited > 0 then redis.call('HDEL', plays, unpack(waited)) end
if #over > 0 then redis.call('ZREM', pending, unpack(over)) end
if #events > 0 then
  emit(jobs, KEYS[log], KEYS[log + 1], KEYS[log + 2], circle, log_length, inbox_length, inbox_bytes, events)
end
for inbox, outcomes in pairs(outcomes_by_inbox) do
  send_outcomes(inbox, circle, inbox_length, inbox_bytes, outcomes)
end
if next(ended) then hand_out_plays(jobs, job_counts, waiting_callers, waiting_plays, plays, most, most_waiting, ended) end
if ended_durable > 0 or has_submitted then hand_out_durable(jobs, job_counts, backlog, circle, most, ended_durable) end
return answers
