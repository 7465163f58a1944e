age = tonumber(age)
-- Its gateway was never told where it is: among those that came since it was sent, so many milliseconds ago.
local function search()
  local from = string.format('%.0f', clock() - age)
  for _ = 1, 16 do
    local found = redis.call('XRANGE', jobs, from, '+', 'COUNT', 256)
    for _, job in ipairs(found) do
      local fields = job[2]
      if fields[1] == 'play' and name_of(fields[2]) == id then return job[1] end
    end
    if #found < 256 then return nil end
    from = '(' .. found[256][1]
  end
end

if entry == '' then
  local state = redis.call('HGET', plays, id)
  if not state then
    entry = age and search()
  elseif state:find('^%d+%-%d+$') then
    entry = state
  else
    local caller = caller_of(state)
    redis.call('HDEL', plays, id)
    redis.call('ZREM', waiting_plays, caller .. id)
    if #waiting_of(waiting_plays, caller, 0, 1) == 0 then redis.call('ZREM', waiting_callers, caller) end
    return 1
  end
  if state then redis.call('HDEL', plays, id) end
end
local found = entry and redis.call('XRANGE', jobs, entry, entry)[1]
if not found then return 0 end
redis.call('XDEL', jobs, entry)
redis.call('XACK', jobs, GROUP, entry)
hand_out_plays(jobs, job_counts, waiting_callers, waiting_plays, plays, most, most_waiting, {[caller_of(found[2][2])] = 1})
return 1
