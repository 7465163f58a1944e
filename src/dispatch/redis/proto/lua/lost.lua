local lost = {}
for _ = 1, entries do
  take entries
  if #redis.call('XPENDING', jobs, GROUP, entry, entry, 1, me) == 0 then add(lost, entry) end
end
return lost
