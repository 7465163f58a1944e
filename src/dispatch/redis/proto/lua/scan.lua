-- Too much that has expired is in the way: it is deleted soon.
local EXPIRED = 'expired'
if is_count then return count_in(store, store_keys, expiring, start, stop) or EXPIRED end
local found, bytes = {}, 0
local has_ended = each_in(store, store_keys, expiring, start, stop, limit, reverse, has_values, function(key, value)
  add(found, key)
  if has_values then
    add(found, value)
    bytes = bytes + #key + #value
    return bytes <= max_bytes
  end
end)
if has_ended == false then return EXPIRED end
return found
