-- Those who listen or watch are gateways, which leave by themselves.
for _, key in ipairs({
  job_counts, waiting_callers, waiting_plays, plays, backlog, open_jobs, event_sequence, event_excess, events, activity,
  store, store_keys, expiring, replies, short_replies, reply_bytes, member_replies, replies_by_member,
  member_reply_bytes, usage,
}) do
  redis.call('UNLINK', key)
end
redis.call('ZREM', expiring_circles, circle)
-- Nothing of the circle is committed or accepted from here on, until this is gone.
redis.call('SET', circle_lock, '!')
return 1
