-- Copies of the one before may be there still.
redis.call('UNLINK', copied_store, copied_keys, copied_events, copied_index, partition_key(jobs, 'backup:jobs'))
redis.call('SET', backup, circle, 'PX', BACKUP.LASTS)
-- The circle is being deleted.
if redis.call('GET', circle_lock) == '!' then return false end
redis.call('COPY', store, copied_store)
redis.call('COPY', store_keys, copied_keys)
redis.call('COPY', events, copied_events)
redis.call('ZRANGESTORE', copied_index, index, '[' .. circle, '(' .. circle .. 'g', 'BYLEX')

-- Calls `found` with the members of a sorted set, some at a time.
local function each_some(set, found)
  local from = 0
  repeat
    local some = redis.call('ZRANGE', set, from, from + AT_A_TIME - 1)
    if #some > 0 then found(some) end
    from = from + AT_A_TIME
  until #some < AT_A_TIME
end

-- The replies to requests aren't among the keys of the store.
for _, set in ipairs({replies, short_replies, member_replies}) do
  each_some(set, function(some)
    local members = {}
    for _, key in ipairs(some) do
      add(members, 0)
      add(members, key)
    end
    redis.call('ZADD', copied_keys, unpack(members))
  end)
end

-- The jobs that aren't over. All others stay as they are, or are copied before they change.
local num_jobs = redis.call('ZCARD', copied_index)
if redis.call('ZCARD', pending) < num_jobs then
  each_some(pending, function(some)
    for _, id in ipairs(some) do
      if redis.call('ZSCORE', copied_index, circle .. id) then BACKUP.copy_job(jobs, id, true) end
    end
  end)
else
  each_some(copied_index, function(some)
    for _, member in ipairs(some) do
      local id = member:sub(-36)
      if redis.call('ZSCORE', pending, id) then BACKUP.copy_job(jobs, id, true) end
    end
  end)
end
for _, key in ipairs({copied_store, copied_keys, copied_events, copied_index, partition_key(jobs, 'backup:jobs')}) do
  redis.call('PEXPIRE', key, BACKUP.LASTS)
end
local _, last_commit = read_usage(usage)
return {clock(), last_commit, redis.call('GET', event_sequence) or '0', num_jobs, redis.call('LLEN', backup_marks)}
