if redis.call('HGET', job, 'record') ~= before then return 0 end

-- Takes it out of the stream.
local function withdraw()
  local entry = redis.call('HGET', job, 'entry')
  if entry and redis.call('XDEL', jobs, entry) == 1 then
    redis.call('XACK', jobs, GROUP, entry)
    return true
  end
  -- It doesn't know its entry.
  local from = '-'
  for _ = 1, 64 do
    local found = redis.call('XRANGE', jobs, from, '+', 'COUNT', 256)
    for _, other in ipairs(found) do
      local fields = other[2]
      if fields[1] == 'job' and fields[2] == id then
        redis.call('XDEL', jobs, other[1])
        redis.call('XACK', jobs, GROUP, other[1])
        return true
      end
    end
    if #found < 256 then return false end
    from = '(' .. found[256][1]
  end
  return false
end

local ended = 0
if redis.call('ZREM', delayed, id .. ' ' .. circle) == 1 then
  add_count(job_counts, 'delayed', -1)
elseif redis.call('LREM', backlog, 1, id) == 0 then
  if not withdraw() then return -1 end
  ended = 1
end
redis.call('HSET', job, 'record', record)
redis.call('PEXPIRE', job, keep_for)
redis.call('ZREM', pending, id)
if submitter ~= '' then redis.call('ZREM', open_jobs, 'g' .. submitter .. id, 'm' .. submitter .. id) end
emit(jobs, event_sequence, events, event_excess, watchers, circle, log_length, log_bytes, inbox_length, inbox_bytes, {event})
hand_out_durable(jobs, job_counts, backlog, circle, most, ended)
return 1
