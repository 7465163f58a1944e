local kept = 0
if are_extra then
  local members, extra = redis.call('ZRANGE', dead_by_circle, from, from + most - 1), {}
  if #members == 0 then return -1 end
  for _, member in ipairs(members) do
    if redis.call('ZSCORE', dead, member:sub(-36)) then kept = kept + 1 else add(extra, member) end
  end
  if #extra > 0 then redis.call('ZREM', dead_by_circle, unpack(extra)) end
  return from + kept
end

local ids = redis.call('ZRANGE', dead, from, from + most - 1)
if #ids == 0 then return -1 end
local members, gone = {}, {}
for _, id in ipairs(ids) do
  local record = redis.pcall('HGET', partition_key(jobs, 'job:' .. id), 'record')
  if not record then
    add(gone, id)
  else
    kept = kept + 1
    -- Where its slot moves just now, it is added the next time.
    if type(record) == 'string' then
      add(members, 0)
      -- One that can't be read is nobody's.
      add(members, (record:match('"circle":"(%x+)"') or '-') .. id)
    end
  end
end
if #members > 0 then redis.call('ZADD', dead_by_circle, unpack(members)) end
if #gone > 0 then redis.call('ZREM', dead, unpack(gone)) end
return from + kept
