local swept, freed = sweep(store, store_keys, expiring, most, {})
if #swept > 0 then
  local size, commit = read_usage(usage)
  size = math.max(size - freed, 0)
  note_commits(jobs, usage, commit_watchers, circle, inbox_length, inbox_bytes, {swept}, size, commit + 1)
end
local next_end = redis.call('ZRANGE', expiring, 0, 0, 'WITHSCORES')[2]
if next_end then
  redis.call('ZADD', expiring_circles, next_end, circle)
else
  redis.call('ZREM', expiring_circles, circle)
end
return #swept
