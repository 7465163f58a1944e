if is_count then return count_in(store, store_keys, expiring, start, stop) end
local found, bytes = {}, 0
each_in(store, store_keys, expiring, start, stop, limit, reverse, has_values, function(key, value)
  add(found, key)
  if has_values then
    add(found, value)
    bytes = bytes + #key + #value
    return bytes <= max_bytes
  end
end)
return found
