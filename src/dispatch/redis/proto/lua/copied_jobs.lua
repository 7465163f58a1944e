if redis.call('GET', backup) ~= circle then return false end
local copied_jobs = partition_key(jobs, 'backup:jobs')
local found, bytes = {}, 0
for _, member in ipairs(redis.call('ZRANGEBYLEX', copied_index, from, '+', 'LIMIT', 0, most)) do
  local id = member:sub(-36)
  local record, input, is_open = unpack(redis.call('HMGET', copied_jobs, id, id .. ':input', id .. ':open'))
  -- One that is over, and hasn't been retried since.
  if not record then
    record, input = unpack(redis.call('HMGET', partition_key(jobs, 'job:' .. id), 'record', 'input'))
  end
  add(found, {member, record, input, is_open and 1 or 0})
  bytes = bytes + #(record or '') + #(input or '')
  if bytes >= max_bytes then break end
end
return found
