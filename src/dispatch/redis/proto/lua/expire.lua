local swept, freed = sweep(store, store_keys, expiring, most, {})
if #swept > 0 then
  local size, commit = read_usage(usage)
  size = math.max(size - freed, 0)
  note_commits(jobs, usage, commit_watchers, circle, inbox_length, inbox_bytes, {swept}, size, commit + 1)
end
local change_lists = reply_lists(
  replies, short_replies, reply_bytes, member_replies, replies_by_member, member_reply_bytes
)
local most_due = 0
for _, list in ipairs({replies, short_replies, member_replies}) do
  local due = redis.call('ZRANGEBYSCORE', list, '-inf', clock(), 'LIMIT', 0, most)
  each_value(store, due, function(key, value)
    if value ~= '' and not live(key, value) then
      change_lists(key, value, -1)
      redis.call('HDEL', store, key)
    end
  end)
  -- Where an earlier version has changed one, something may be left of it.
  if #due > 0 then redis.call('ZREM', list, unpack(due)) end
  most_due = math.max(most_due, #due)
end
if most_due > 0 and redis.call('EXISTS', member_replies) == 0 then
  redis.call('DEL', replies_by_member, member_reply_bytes)
end

local first
for _, keys in ipairs({expiring, replies, short_replies, member_replies}) do
  local expiry = tonumber(redis.call('ZRANGE', keys, 0, 0, 'WITHSCORES')[2] or '')
  first = math.min(expiry or math.huge, first or math.huge)
end
if first < math.huge then
  redis.call('ZADD', expiring_circles, first, circle)
else
  redis.call('ZREM', expiring_circles, circle)
end
return math.max(#swept, most_due)
