local entries, bytes = {}, 0
each_value(store, keys_in(store_keys, start, stop, limit, reverse), function(key, value)
  add(entries, key)
  add(entries, value)
  bytes = bytes + #key + #value
  return bytes <= max_bytes
end)
return entries
