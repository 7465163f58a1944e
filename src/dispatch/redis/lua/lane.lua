-- Goes before every script. A circle's lane: how many of its plays and durable jobs are in the stream, and how many
-- durable ones wait for their time.

local GROUP = 'workers'

local function add(list, item)
  list[#list + 1] = item
end

-- What a key of the partition is called, as keys.rs has it.
local function beside(jobs, what)
  return (jobs:gsub('jobs$', function() return what end))
end

local function counted(lane, what)
  return tonumber(redis.call('HGET', lane, what) or '0')
end

local function count(lane, what, by)
  if by ~= 0 and redis.call('HINCRBY', lane, what, by) <= 0 then
    redis.call('HDEL', lane, what)
  end
end

-- The name of a play; it comes first.
local function name_of(play)
  return play:match('"id":"([^"]*)"')
end

-- So many plays have ended: those that wait, first in first out, as long as there is room for them in the stream.
local function hand_out_plays(jobs, lane, queue, plays, most, ended)
  local room = most - counted(lane, 'plays') + ended
  local handed = 0
  while handed < room do
    local id = redis.call('LPOP', queue)
    if not id then break end
    local play = redis.call('HGET', plays, id)
    if play then
      redis.call('HSET', plays, id, redis.call('XADD', jobs, '*', 'waited', play))
      handed = handed + 1
    end
  end
  count(lane, 'plays', handed - ended)
end

-- So many durable jobs have ended: those that wait, first in first out, as long as fewer of them run than may.
local function hand_out_durable(jobs, lane, backlog, circle, most, ended)
  local room = most - counted(lane, 'durable') + ended
  local handed = 0
  while handed < room do
    local id = redis.call('LPOP', backlog)
    if not id then break end
    local entry = redis.call('XADD', jobs, '*', 'job', id, 'circle', circle)
    -- Where its slot moves just now, it goes without.
    redis.pcall('HSET', beside(jobs, 'job:' .. id), 'entry', entry)
    handed = handed + 1
  end
  count(lane, 'durable', handed - ended)
end

-- '-' nothing, '=' this very value, '#' a value with this SHA-1.
local function is(value, wanted)
  local how = wanted:byte(1)
  if how == 45 then return not value end
  if not value then return false end
  if how == 61 then return value == wanted:sub(2) end
  return redis.sha1hex(value) == wanted:sub(2)
end

-- Puts messages into an inbox, each a name and what it says; false, where there is no inbox. One that holds more than it
-- may, entries or bytes, is dropped as a whole: its gateway fetches nothing, and finds it gone when it does.
local function send(inbox, most, most_bytes, messages, from, to)
  local sent = redis.pcall('XADD', inbox, 'NOMKSTREAM', '*', unpack(messages, from, to))
  -- Where its slot moves just now, the gateway finds out by itself.
  if not sent or type(sent) == 'table' and sent.err then return sent end
  local bytes = 0
  for i = from, to do bytes = bytes + #messages[i] end
  local size = inbox .. ':bytes'
  local held = redis.pcall('INCRBY', size, bytes)
  if held == bytes then
    -- It is new, and goes with the inbox. That it is there longer is seen to by the gateway.
    local ttl = redis.pcall('PTTL', inbox)
    if type(ttl) == 'number' and ttl > 0 then redis.pcall('PEXPIRE', size, ttl) end
  end
  if type(held) == 'number' and held > tonumber(most_bytes) or redis.call('XLEN', inbox) > tonumber(most) then
    redis.pcall('DEL', inbox, size)
  end
  return sent
end

-- Gives a circle's events their numbers, keeps them, and sends them to the gateways that listen.
local function emit(jobs, told, events, watchers, circle, most, inbox_length, inbox_bytes, list)
  local number = redis.call('INCRBY', told, #list) - #list
  local fields = {}
  for _, event in ipairs(list) do
    number = number + 1
    local text = string.format('%.0f', number)
    redis.pcall('XADD', events, 'MAXLEN', most, text .. '-0', 'event', event)
    add(fields, circle .. ' ' .. text)
    add(fields, event)
  end
  for _, gateway in ipairs(redis.call('SMEMBERS', watchers)) do
    local inbox = beside(jobs, 'inbox:' .. gateway)
    for from = 1, #fields, 1000 do
      if not send(inbox, inbox_length, inbox_bytes, fields, from, math.min(from + 999, #fields)) then
        redis.call('SREM', watchers, gateway)
        break
      end
    end
  end
end
