local change_lists = reply_lists(
  replies, short_replies, reply_bytes, member_replies, replies_by_member, member_reply_bytes
)
for _ = 1, new_replies do
  take new_replies
  redis.call('HSET', store, key, value)
  change_lists(key, value, 1)
end
return 1
