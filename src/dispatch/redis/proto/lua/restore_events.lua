for _ = 1, new_events do
  take new_events
  redis.call('XADD', events, number .. '-0', 'event', event)
end
return 1
