-- What runs in one circle came to, one after another; each lands as a whole or not at all. For each: 'done';
-- 'gone', it isn't pending any more; 'quota'; 'superseded'; or what it had read has changed: the values that
-- it had read, as they are now.
local jobs, lane, queue, plays, backlog, store, names, usage, pending, delayed, finished, dead = unpack(KEYS, 1, 12)
local circle, most, quota, inbox_length = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local at = 4
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_key()
  return KEYS[tonumber(take())]
end

-- '-' nothing, '=' this very value, '#' a value with this SHA-1.
local function is(value, wanted)
  local how = wanted:byte(1)
  if how == 45 then return not value end
  if not value then return false end
  if how == 61 then return value == wanted:sub(2) end
  return redis.sha1hex(value) == wanted:sub(2)
end

-- Whether a prefix lists what it listed: so many keys at least, or exactly so many where the list was whole.
local function lists(prefix, number, whole, hash)
  local from, to = '[' .. prefix, '(' .. prefix .. '\255'
  local most = whole == '1' and number + 1 or number
  local found = redis.call('ZRANGEBYLEX', names, from, to, 'LIMIT', 0, most)
  if #found ~= number then return false end
  local parts = {}
  for i, name in ipairs(found) do
    parts[i] = #name .. ':' .. name
  end
  return redis.sha1hex(table.concat(parts)) == hash
end

local answers = {}
local ended_plays, ended_durable = 0, 0
while at < #ARGV do
  local entry, id, is_play, inbox, message = take(), take(), take() == '1', take_key(), take()

  local stands, values = true, {}
  for i = 1, tonumber(take()) do
    local value = redis.call('HGET', store, take())
    values[i] = value
    if not is(value, take()) then stands = false end
  end
  for _ = 1, tonumber(take()) do
    local prefix, number, whole, hash = take(), tonumber(take()), take(), take()
    if stands and not lists(prefix, number, whole, hash) then stands = false end
  end

  local before = tonumber(redis.call('GET', usage) or '0')
  local after = before
  local writes = {}
  for i = 1, tonumber(take()) do
    local key, value = take(), take()
    local old = redis.call('HSTRLEN', store, key)
    if old > 0 then after = after - #key - old end
    if value ~= '' then after = after + #key + #value end
    writes[i] = {key, value, old > 0}
  end

  local job, status, record, time, keep_for, absent, final
  if not is_play then
    job, status, record, time, keep_for = take_key(), take(), take(), take(), take()
    absent, final = take_key(), take_key()
  end

  local answer
  if not stands then
    table.insert(values, 1, 'conflict')
    answer = values
  elseif after > quota and after > before then
    answer = 'quota'
  elseif absent and redis.call('EXISTS', absent) == 1 then
    answer = 'superseded'
  elseif redis.call('XACK', jobs, GROUP, entry) == 0 then
    answer = 'gone'
  else
    answer = 'done'
    redis.call('XDEL', jobs, entry)
    for _, write in ipairs(writes) do
      local key, value, was_there = unpack(write)
      if value == '' then
        redis.call('HDEL', store, key)
        redis.call('ZREM', names, key)
      else
        redis.call('HSET', store, key, value)
        if not was_there then redis.call('ZADD', names, 0, key) end
      end
    end
    if after ~= before then redis.call('SET', usage, string.format('%.0f', after)) end
    if is_play then
      ended_plays = ended_plays + 1
      redis.call('HDEL', plays, id)
    else
      ended_durable = ended_durable + 1
      redis.call('HSET', job, 'record', record)
      if status == 'pending' then
        redis.call('ZADD', delayed, time, id .. ' ' .. circle)
        count(lane, 'delayed', 1)
      else
        redis.call('ZREM', pending, id)
        redis.call('PEXPIRE', job, keep_for)
        if status == 'finished' then
          redis.call('HDEL', job, 'input')
          redis.call('RPUSH', finished, id)
        else
          redis.call('ZADD', dead, time, id)
        end
        if final then redis.call('SET', final, id) end
      end
    end
    if inbox then
      redis.call('XADD', inbox, 'NOMKSTREAM', 'MAXLEN', '~', inbox_length, '*', 'id', id, is_play and 'play' or 'job', message)
    end
  end
  answers[#answers + 1] = answer
end
if ended_plays > 0 then
  count(lane, 'plays', -ended_plays)
  hand_out_plays(jobs, lane, queue, plays, most)
end
if ended_durable > 0 then
  count(lane, 'durable', -ended_durable)
  hand_out_durable(jobs, lane, backlog, circle, most)
end
return answers
