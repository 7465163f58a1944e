local swept, freed = sweep(store, store_keys, expiring, most, {})
if #swept > 0 then
  local size, commit = read_usage(usage)
  size = math.max(size - freed, 0)
  note_commits(jobs, usage, commit_watchers, circle, inbox_length, inbox_bytes, {swept}, size, commit + 1)
end
local most_due = 0
for _, index in ipairs({replies, short_replies}) do
  local due = redis.call('ZRANGEBYSCORE', index, '-inf', clock(), 'LIMIT', 0, most)
  if #due > 0 then
    local left = redis.call('INCRBY', reply_bytes, string.format('%.0f', -drop_replies(store, index, due)))
    if left <= 0 then redis.call('DEL', reply_bytes) end
  end
  most_due = math.max(most_due, #due)
end

local first
for _, keys in ipairs({expiring, replies, short_replies}) do
  local expiry = tonumber(redis.call('ZRANGE', keys, 0, 0, 'WITHSCORES')[2] or '')
  first = math.min(expiry or math.huge, first or math.huge)
end
if first < math.huge then
  redis.call('ZADD', expiring_circles, first, circle)
else
  redis.call('ZREM', expiring_circles, circle)
end
return math.max(#swept, most_due)
