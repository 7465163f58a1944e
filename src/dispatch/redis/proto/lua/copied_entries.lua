if redis.call('GET', backup) ~= circle then return false end
local found, bytes = {}, 0
local last = ''
each_value(copied_store, redis.call('ZRANGEBYLEX', copied_keys, from, '+', 'LIMIT', 0, most), function(key, value)
  last = key
  -- Of a reply that an earlier version has deleted, its entry in a list may be left.
  if value == '' and key:sub(1, 2) == REQUEST then return true end
  add(found, key)
  add(found, value)
  bytes = bytes + #key + #value
  return bytes < max_bytes
end)
return {last, found}
