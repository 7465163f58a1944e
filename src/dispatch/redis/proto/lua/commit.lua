-- A run may have read several ranges with such keys. What comes after too many of them, starts over.
passed_at_most = 2 * passed_at_most

local holder = redis.call('GET', circle_lock)
-- The circle is being deleted.
if holder == '!' then
  local gone = {}
  for i = 1, runs do gone[i] = 'gone' end
  return gone
end
if holder and holder ~= locked_by and locked_by ~= '*' then return 'locked' end
if holder == locked_by then redis.call('DEL', circle_lock) end

-- How long the value of a key is, if it has one.
local function kept(key)
  local length = redis.call('HSTRLEN', store, key)
  if length > 0 or redis.call('HEXISTS', store, key) == 1 then return length end
  return nil
end

-- Returns whether a range, read as it was, has what it had: so many keys, or the keys, or also the values, by their digest.
local function range_holds(start, reverse, stop, limit, is_count, has_values, found)
  -- The longest value that goes into a digest itself, as read_set.rs has it.
  local INLINE = 64
  if is_count then return count_in(store, store_keys, expiring, start, stop) == tonumber(found) end
  local parts = {}
  local has_ended = each_in(store, store_keys, expiring, start, stop, limit, reverse, has_values, function(key, value)
    local part = #key .. ':' .. key
    if has_values then
      local digested = #value > INLINE and redis.sha1hex(value) or value
      part = part .. #value .. ':' .. digested
    end
    add(parts, part)
  end)
  if has_ended == false then return false end
  return redis.sha1hex(table.concat(parts)) == found
end

-- Adds to the values of keys, in place. Returns what they were, each a key and a value, and the first one, if any, to whose
-- value nothing can be added, with the reason. What was added before it is in place then, too.
local function add_all(adds)
  local before = {}
  for i, added in ipairs(adds) do
    local key, old = added[1], redis.call('HGET', store, added[1])
    local number, header = live(key, old), ''
    if number and expiry_of(key, number) then header, number = number:sub(1, 9), number:sub(10) end
    before[i] = {key, old}
    -- The sum expires when the value does; one that has expired is none.
    if number and header ~= '' then redis.call('HSET', store, key, number) end
    if old and not number then redis.call('HDEL', store, key) end
    local sum = redis.pcall('HINCRBY', store, key, added[2])
    if type(sum) == 'table' then
      return before, {'add', key, sum.err:find('overflow', 1, true) and 'overflow' or 'number'}
    end
    if header ~= '' then redis.call('HSET', store, key, header .. redis.call('HGET', store, key)) end
  end
  return before
end

-- Puts back what values were.
local function undo(before)
  for _, was in ipairs(before) do
    if was[2] then
      redis.call('HSET', store, was[1], was[2])
    else
      redis.call('HDEL', store, was[1])
    end
  end
end

-- Gives new values their keys, and adds them to the writes, with the number of the last one. Returns by how much the store
-- grows.
local function name_pushes(to_push, writes)
  -- The key with the number of the last push.
  local PUSHED = '\255n'
  local taken, old = {}, redis.call('HGET', store, PUSHED)
  for _, write in ipairs(writes) do taken[write[1]] = true end
  local number, grows = tonumber(old or '') or 0, 0
  for _, new in ipairs(to_push) do
    local key, there
    repeat
      number = number + 1
      key = new[1] .. string.format('%020.0f', number)
      there = redis.call('HGET', store, key)
      -- A script may have written it.
    until not taken[key] and not live(key, there)
    grows = grows + #new[2] + (there and -#there or #key)
    add(writes, {key, new[2], there})
  end
  local text = string.format('%.0f', number)
  add(writes, {PUSHED, text, old})
  return grows + #text - (old and #old or -#PUSHED)
end

-- Adds the keys in some ranges to the writes, as deleted, but for those that are there. Returns how many bytes they have; or
-- false, if they are too many; or nothing, if too many have expired.
local function delete_ranges(to_delete, writes)
  local taken, count, freed = {}, 0, 0
  for _, write in ipairs(writes) do taken[write[1]] = true end
  for _, range in ipairs(to_delete) do
    -- Those that are written come back.
    local most = max_range_delete + #writes + 1
    local has_ended = each_in(store, store_keys, expiring, range[1], range[2], most, false, true, function(key, value)
      if not taken[key] then
        add(writes, {key, nil, #value})
        count, freed = count + 1, freed + #key + #value
      end
      return count <= max_range_delete
    end)
    if has_ended == false then return nil end
    if count > max_range_delete then return false end
  end
  return freed
end

-- The writes that happen in one go at the end. A call commits two thousand runs at most, so all of it fits the stack.
local entries, without_effects, waited, over, outcomes_by_inbox, emitted = {}, {}, {}, {}, {}, {}
-- The entries of plays, by caller; '' until one is named.
local caller, ended = '', {}

-- Notes when a key expires that gets a value, or none: then it doesn't.
local any_expiry
local function note_expiry(key, value)
  local expiry = value and expiry_of(key, value)
  if expiry then
    redis.call('ZADD', expiring, expiry, key)
    redis.call('ZADD', expiring_circles, 'LT', expiry, circle)
    any_expiry = true
    return
  end
  if any_expiry == nil then any_expiry = redis.call('EXISTS', expiring) == 1 end
  if any_expiry then redis.call('ZREM', expiring, key) end
end

-- Keeps the reply to a request, which doesn't count in the quota. (A script has 200 locals at most, so these have a block.)
local keep_reply
do
  -- Returns the account that has the most bytes of replies, if all together have too many: see reply_room.rs.
  local function find_largest()
    local guests = tonumber(redis.call('GET', reply_bytes) or '0')
    local _, all, member, most_bytes = unpack(redis.call('ZREVRANGE', member_reply_bytes, 0, 1, 'WITHSCORES'))
    if guests + tonumber(all or '0') <= max_requests then return nil end
    return member and tonumber(most_bytes) > guests and member or ''
  end

  -- Returns the reply of an account that makes room first, and its entry. The new one comes last.
  local function find_oldest(account, new)
    if account == '' then
      local oldest = redis.call('ZRANGE', replies, 0, 1)
      for _, key in ipairs(redis.call('ZRANGE', short_replies, 0, 1)) do add(oldest, key) end
      local key = oldest[1] ~= new and oldest[1] or oldest[2] or oldest[1]
      return key, key
    end
    local from, to = '[' .. account .. 'r', '(' .. account .. 't'
    local entries = redis.call('ZRANGEBYLEX', replies_by_member, from, to, 'LIMIT', 0, 2)
    local keys = {}
    -- Before the key, there is a letter and the expiry time.
    for i, entry in ipairs(entries) do keys[i] = entry:sub(#account + 10) end
    local i = keys[1] == new and keys[2] and 2 or 1
    return keys[i], entries[i]
  end

  -- Has an account give up a reply: it is shortened to its first fields, or deleted if it has no others.
  local function give_up(account, new, change_lists)
    local key, entry = find_oldest(account, new)
    if not key then
      -- Its bytes were wrong.
      if account == '' then return redis.call('DEL', reply_bytes) end
      local bytes = redis.call('ZSCORE', member_reply_bytes, account)
      redis.call('ZINCRBY', member_reply_bytes, '-' .. bytes, '~')
      return redis.call('ZREM', member_reply_bytes, account)
    end
    local value = redis.call('HGET', store, key)
    local whose, head, found = account_of(key, value or '')
    if not value or whose ~= account or found ~= entry then
      -- An earlier version has changed the reply.
      for _, list in ipairs({replies, short_replies, replies_by_member}) do redis.call('ZREM', list, entry) end
      return
    end
    change_lists(key, value, -1)
    if #value > head + 1 then
      value = value:sub(1, head) .. '}'
      redis.call('HSET', store, key, value)
      change_lists(key, value, 1)
    else
      redis.call('HDEL', store, key)
    end
  end

  local AT_ONCE = 1000
  function keep_reply(key, value)
    local change_lists = reply_lists(
      replies, short_replies, reply_bytes, member_replies, replies_by_member, member_reply_bytes
    )
    local old = redis.call('HGET', store, key)
    if old then change_lists(key, old, -1) end
    redis.call('HSET', store, key, value)
    change_lists(key, value, 1)
    redis.call('ZADD', expiring_circles, 'LT', expiry_of(key, value), circle)
    for _ = 1, AT_ONCE do
      local account = find_largest()
      if not account then break end
      give_up(account, key, change_lists)
    end
  end
end

-- Returns true if somebody listens to the circle.
local has_watchers
local function listened()
  if has_watchers == nil then has_watchers = redis.call('EXISTS', watchers) == 1 end
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
local function submit_job(new)
  if new.replaced ~= '' then BACKUP.copy_before_retry(jobs, circle, new.id) end
  redis.call('HSET', new.job, 'record', new.record)
  if new.input ~= '' then redis.call('HSET', new.job, 'input', new.input) end
  if new.replaced ~= '' then
    redis.call('ZREM', dead, new.id)
    redis.call('ZREM', dead_by_circle, circle .. new.id)
    redis.call('PERSIST', new.job)
  else
    redis.call('HSET', new.job, 'gateway', new.gateway)
    redis.call('ZADD', index, 0, circle .. new.id)
    if new.submitter ~= '' then redis.call('ZADD', submitted, 0, circle .. new.submitter .. new.id) end
  end
  redis.call('ZADD', pending, 0, new.id)
  -- One that runs again doesn't count as a guest's: it was counted before.
  if new.submitter ~= '' then redis.call('ZADD', open_jobs, 0, 'm' .. new.submitter .. new.id) end
  if new.due ~= '' then
    redis.call('ZADD', delayed, new.due, new.id .. ' ' .. circle)
    add_count(job_counts, 'delayed', 1)
  else
    redis.call('RPUSH', backlog, new.id)
  end
  has_submitted = true
end

local answers = {}
local ended_durable = 0
-- The size of the store, the number of the last commit that changed it, and what those of this call have written.
local size, commit
local commits = {}
for _ = 1, runs do
  take runs
  take callers if is_of_other
  take durables if is_durable
  caller = new_caller or caller
  local is_claimed = is_play or is_durable

  local reads_hold, values, writes, new_events, new_jobs, after, has_room = true, {}, {}, {}, {}, nil, true
  for i = 1, num_reads do
    take reads
    values[i] = live(key, redis.call('HGET', store, key))
    if not matches(values[i], expected) then reads_hold = false end
  end
  for _ = 1, num_ranges do
    take ranges
    reads_hold = reads_hold and range_holds(start, reverse, stop, limit, is_count, has_values, found)
  end
  if num_puts + num_deletes + num_adds + num_pushes + num_range_deletes > 0 then
    if not size then size, commit = read_usage(usage) end
    after = size
  end
  local reply
  for _ = 1, num_puts do
    take puts
    local expiry = expiry_of(put_key, value)
    -- It may have seen its own write, which is over by now.
    if expiry and expiry <= clock() then reads_hold = false end
    if put_key:sub(1, 2) == REQUEST then
      reply = {put_key, value}
    else
      local old = kept(put_key)
      if old then after = after - #put_key - old end
      after = after + #put_key + #value
      add(writes, {put_key, value, old})
    end
  end
  for _ = 1, num_deletes do
    take deletes
    local old = kept(deleted_key)
    if old then after = after - #deleted_key - old end
    add(writes, {deleted_key, nil, old})
  end
  local to_add, added, not_added = {}, {}, nil
  for i = 1, num_adds do
    take adds
    to_add[i] = {added_key, by}
  end
  local to_delete = {}
  for i = 1, num_range_deletes do
    take range_deletes
    to_delete[i] = {deleted_from, deleted_to}
  end
  local to_push = {}
  for i = 1, num_pushes do
    take pushes
    to_push[i] = {prefix, pushed}
  end
  for i = 1, num_emits do
    take emits
    new_events[i] = event
  end
  for i = 1, num_submits do
    take submits
    new_jobs[i] = {
      job = new_job, id = new_id, record = new_record, input = new_input, replaced = replaced, submitter = submitter,
      due = due, gateway = gateway,
    }
    if replaced == '' then
      has_room = has_room and waiting_jobs(i - 1) < room
    elseif not matches(redis.call('HGET', new_job, 'record'), replaced) then
      reads_hold = false
    end
  end

  if reads_hold and num_adds > 0 then
    added, not_added = add_all(to_add)
    for _, was in ipairs(added) do
      local key, old = was[1], was[2]
      after = after + kept(key) - (old and #old or -#key)
      add(writes, {key, true, old})
    end
  end

  local too_many = false
  if reads_hold and num_range_deletes > 0 then
    local freed = delete_ranges(to_delete, writes)
    reads_hold, too_many, after = freed ~= nil, freed == false, after - (freed or 0)
  end
  if reads_hold and num_pushes > 0 then after = after + name_pushes(to_push, writes) end

  if reads_hold and after and after > quota and after > size then
    -- What has expired makes room. The keys that it writes are counted already.
    local SWEPT_AT_MOST, spared = 1000, {}
    for _, write in ipairs(writes) do spared[write[1]] = true end
    local swept, freed = sweep(store, store_keys, expiring, SWEPT_AT_MOST, spared)
    if #swept > 0 then
      size, after, commit = size - freed, after - freed, commit + 1
      add(commits, swept)
    end
  end

  local answer = 'done'
  if not reads_hold then
    table.insert(values, 1, 'conflict')
    answer = values
  elseif not_added then
    answer = not_added
  elseif too_many then
    answer = 'range_delete'
  elseif after and after > quota and after > size then
    answer = 'quota'
  elseif not has_room then
    answer = 'backlog'
  elseif no_final and redis.call('EXISTS', no_final) == 1 then
    answer = 'superseded'
  elseif is_play and not after and #new_events == 0 and #new_jobs == 0 then
    -- It leaves nothing but its outcome, of which the first one counts.
    add(without_effects, entry)
  elseif is_claimed and redis.call('XACK', jobs, GROUP, entry) == 0 then
    answer = 'gone'
  else
    for _, write in ipairs(writes) do
      local key, value, old = write[1], write[2], write[3]
      if value then
        -- What was added is there already, and expires as before.
        if value ~= true then
          redis.call('HSET', store, key, value)
          note_expiry(key, value)
        end
        if not old then redis.call('ZADD', store_keys, 0, key) end
      else
        redis.call('HDEL', store, key)
        redis.call('ZREM', store_keys, key)
        note_expiry(key)
      end
    end
    if reply then keep_reply(reply[1], reply[2]) end
    if after then
      size, commit = after, commit + 1
      add(commits, writes)
    end
    -- What is told of the job comes last. Where that is routine, it is for whoever listens.
    if is_routine and not listened() then new_events[#new_events] = nil end
    for _, event in ipairs(new_events) do add(emitted, event) end
    for _, new_job in ipairs(new_jobs) do submit_job(new_job) end
    if is_durable then
      ended_durable = ended_durable + 1
      redis.call('HSET', job, 'record', record)
      if status == 'pending' then
        redis.call('ZADD', delayed, time, id .. ' ' .. circle)
        add_count(job_counts, 'delayed', 1)
      else
        add(over, id)
        if submitted_by ~= '' then redis.call('ZREM', open_jobs, 'g' .. submitted_by .. id, 'm' .. submitted_by .. id) end
        redis.call('PEXPIRE', job, keep_for)
        if status == 'dead' then
          redis.call('ZADD', dead, time, id)
          redis.call('ZADD', dead_by_circle, 0, circle .. id)
        end
        if final_delivery then redis.call('SET', final_delivery, id) end
      end
    end
  end
  if answer ~= 'done' then undo(added) end
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
    if has_waited then add(waited, id) end
    if inbox then
      local outcomes = outcomes_by_inbox[inbox] or {}
      outcomes_by_inbox[inbox] = outcomes
      add(outcomes, id)
      if is_query then
        if not size then size, commit = read_usage(usage) end
        message = string.format('%.0f ', commit) .. message
      end
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
  note_commits(jobs, usage, commit_watchers, circle, inbox_length, inbox_bytes, commits, size, commit)
end
if #waited > 0 then redis.call('HDEL', plays, unpack(waited)) end
if #over > 0 then redis.call('ZREM', pending, unpack(over)) end
if #emitted > 0 then
  emit(jobs, event_sequence, events, event_excess, watchers, circle, log_length, log_bytes, inbox_length, inbox_bytes, emitted)
end
for inbox, outcomes in pairs(outcomes_by_inbox) do
  send_outcomes(inbox, circle, inbox_length, inbox_bytes, outcomes)
end
if next(ended) then hand_out_plays(jobs, job_counts, waiting_callers, waiting_plays, plays, most, most_waiting, ended) end
if ended_durable > 0 or has_submitted then hand_out_durable(jobs, job_counts, backlog, circle, most, ended_durable) end
return answers
