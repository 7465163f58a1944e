-- Goes before every script. A circle's counts say how many of its plays and durable jobs are in the stream, how many plays of
-- each caller, and how many durable jobs wait for their time.

local GROUP = 'workers'

local function add(list, item)
  list[#list + 1] = item
end

-- Returns a key of the partition, as keys.rs has it. Only for keys that nobody knows before the script has read what they are
-- about: of a job that has waited, and of the inboxes of those who listen. All others are declared.
local function partition_key(jobs, what)
  return (jobs:gsub('jobs$', function() return what end))
end

-- Returns a count. A value that can't be a count is none.
local function read_count(job_counts, what)
  local number = tonumber(redis.call('HGET', job_counts, what) or '0')
  if number and number > 0 and number % 1 == 0 then return number end
  return 0
end

local function write_counts(job_counts, counts)
  local some, none = {}, {}
  for what, number in pairs(counts) do
    if number > 0 then
      add(some, what)
      add(some, number)
    else
      add(none, what)
    end
  end
  if #some > 0 then redis.call('HSET', job_counts, unpack(some)) end
  if #none > 0 then redis.call('HDEL', job_counts, unpack(none)) end
end

local function add_count(job_counts, what, by)
  if by ~= 0 then write_counts(job_counts, {[what] = read_count(job_counts, what) + by}) end
end

-- Returns how many jobs are in the stream, by a count: no more than there are. So a wrong number, wherever it
-- comes from, is mended once little is there.
local function in_stream(jobs, number)
  return number > 0 and math.min(number, redis.call('XLEN', jobs)) or 0
end

-- Returns the id of a play; it comes first.
local function name_of(play)
  return play:match('"id":"([^"]*)"')
end

-- Returns the caller that a play counts for; it comes before anything that a caller has written.
local function caller_of(play)
  local _, at = play:find('"caller":', 1, true)
  if at and play:byte(at + 1) == 34 then return play:sub(at + 2, at + 67) end
  return 'anonymous'
end

-- Returns plays of a caller that wait, first in first out, from one on: the caller with the id of each.
local function waiting_of(waiting_plays, caller, from, most)
  return redis.call('ZRANGEBYLEX', waiting_plays, '[' .. caller, '(' .. caller .. '\255', 'LIMIT', from, most)
end

-- Puts these plays that wait into the stream. Returns how many there were.
local function put_into_stream(jobs, waiting_plays, plays, caller, some)
  if #some == 0 then return 0 end
  redis.call('ZREM', waiting_plays, unpack(some))
  local ids, entries = {}, {}
  for i, name in ipairs(some) do ids[i] = name:sub(#caller + 1) end
  for i, play in ipairs(redis.call('HMGET', plays, unpack(ids))) do
    if play then
      local came, text = play:match('^(%d+) (.*)$')
      add(entries, ids[i])
      add(entries, redis.call('XADD', jobs, '*', 'waited', text or play, 'came', came or '0'))
    end
  end
  if #entries > 0 then redis.call('HSET', plays, unpack(entries)) end
  return #entries / 2
end

-- How many plays of a circle may be in the stream. It has twice as many places as one caller gets: a caller has one more as
-- long as they are fewer than the places that are left. Half as many again, or a quarter of those that may wait if that is
-- more, are for those who have none. Whether they have waited or come just now, it is the same number: nobody is overtaken.
local function most_in_stream(most, most_waiting)
  return 2 * most + math.max(most, math.floor(most_waiting / 4))
end

-- Plays of these callers have ended, so many of each. Those that wait go into the stream: next, some of whoever has the
-- fewest there.
local AT_A_TIME = 1000
local function hand_out_plays(jobs, job_counts, waiting_callers, waiting_plays, plays, most, most_waiting, ended)
  local counts, scores, all = {}, {}, 0
  for _, number in pairs(ended) do all = all + number end
  local total = in_stream(jobs, read_count(job_counts, 'plays') - all)
  for caller, number in pairs(ended) do
    -- Where there are none, there are none of a caller.
    local own = total > 0 and read_count(job_counts, caller) - number or 0
    counts[caller] = math.max(own, 0)
    add(scores, counts[caller])
    add(scores, caller)
  end
  if redis.call('EXISTS', waiting_callers) == 1 then
    redis.call('ZADD', waiting_callers, 'XX', unpack(scores))
    while true do
      local caller, own, _, next_own = unpack(redis.call('ZRANGE', waiting_callers, 0, 1, 'WITHSCORES'))
      if not caller then break end
      own = math.min(tonumber(own), total)
      local room = math.ceil((2 * most - total - own) / 2)
      if own == 0 and total < most_in_stream(most, most_waiting) then room = math.max(room, 1) end
      if room <= 0 then break end
      if next_own then room = math.min(room, math.max(tonumber(next_own) - own, 0) + math.ceil(room / 8)) end
      room = math.min(room, AT_A_TIME)
      local some = waiting_of(waiting_plays, caller, 0, room + 1)
      local others = table.remove(some, room + 1)
      local handed = put_into_stream(jobs, waiting_plays, plays, caller, some)
      counts[caller] = own + handed
      total = total + handed
      if others then
        redis.call('ZADD', waiting_callers, own + handed, caller)
      else
        redis.call('ZREM', waiting_callers, caller)
      end
    end
  end
  counts.plays = total
  write_counts(job_counts, counts)
end

-- So many durable jobs have ended: those that wait, first in first out, as long as fewer of them run than may.
local function hand_out_durable(jobs, job_counts, backlog, circle, most, ended)
  local total = in_stream(jobs, read_count(job_counts, 'durable') - ended)
  while total < most do
    local id = redis.call('LPOP', backlog)
    if not id then break end
    local job = partition_key(jobs, 'job:' .. id)
    -- How much its worker has to fetch. Where its slot moves just now, that isn't known.
    local size = redis.pcall('HSTRLEN', job, 'input')
    local known = type(size) == 'number' and {'size', size} or {}
    local entry = redis.call('XADD', jobs, '*', 'job', id, 'circle', circle, unpack(known))
    -- It goes without, then.
    redis.pcall('HSET', job, 'entry', entry)
    total = total + 1
  end
  write_counts(job_counts, {durable = total})
end

-- Returns whether a value is the wanted one: '-' nothing, '=' this very value, '#' a value with this SHA-1.
local function matches(value, wanted)
  local how = wanted:byte(1)
  if how == 45 then return not value end
  if not value then return false end
  if how == 61 then return value == wanted:sub(2) end
  return redis.sha1hex(value) == wanted:sub(2)
end

-- Returns the time of this call in milliseconds since 1970.
local called_at
local function clock()
  if not called_at then
    local seconds, micros = unpack(redis.call('TIME'))
    called_at = seconds * 1000 + math.floor(micros / 1000)
  end
  return called_at
end

-- What backups need. (A script has 200 locals at most, so it is one.) `LASTS`: the time in milliseconds for which copies are
-- kept, where nobody goes on with them.
local BACKUP = {LASTS = 60000}

-- Returns when a key of Redis expires, in milliseconds since 1970; -1 if it never does.
function BACKUP.expires_at(key)
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) == 'number' then return at end
  -- Redis 6 says how much time is left. Within one millisecond, that is as good.
  local before, left, after
  repeat
    before, left, after = redis.call('TIME'), redis.call('PTTL', key), redis.call('TIME')
    before, after = before[1] * 1000 + math.floor(before[2] / 1000), after[1] * 1000 + math.floor(after[2] / 1000)
  until before == after
  return left < 0 and left or after + left
end

-- Copies a durable job for the backup of its circle.
function BACKUP.copy_job(jobs, id, is_open)
  local found = redis.pcall('HMGET', partition_key(jobs, 'job:' .. id), 'record', 'input')
  if not found[1] then return end
  local copied = {id, found[1]}
  if found[2] then
    add(copied, id .. ':input')
    add(copied, found[2])
  end
  if is_open then
    add(copied, id .. ':open')
    add(copied, 1)
  end
  redis.pcall('HSET', partition_key(jobs, 'backup:jobs'), unpack(copied))
end

-- A durable job that is over comes to life again. If its circle is being backed up, it is copied as it was, unless it
-- wasn't over then.
function BACKUP.copy_before_retry(jobs, circle, id)
  local copied_jobs = partition_key(jobs, 'backup:jobs')
  if redis.pcall('GET', partition_key(jobs, 'backup')) ~= circle then return end
  if redis.pcall('HEXISTS', copied_jobs, id) == 0 then
    BACKUP.copy_job(jobs, id, false)
    redis.pcall('PEXPIRE', copied_jobs, BACKUP.LASTS)
  end
end

-- Returns when a key expires by its value in the store, if it does: see expiring.rs.
local MARK, OWN, REQUEST = 1, '\255', '\255r'
local function expiry_of(key, value)
  if value:byte(1) ~= MARK or #value < 9 then return nil end
  -- Of the circle's own keys, the replies to requests alone expire.
  if key:sub(1, 1) == OWN and key:sub(1, 2) ~= REQUEST then return nil end
  return (struct.unpack('>I8', value, 2))
end

-- Returns the value of a key, or false if it has none or has expired.
local function live(key, value)
  local expiry = value and expiry_of(key, value)
  return (not expiry or expiry > clock()) and value
end

-- Returns whether keys of a store have expired that are there still.
local function is_any_due(expiring)
  return redis.call('EXISTS', expiring) == 1 and #redis.call('ZRANGEBYSCORE', expiring, '-inf', clock(), 'LIMIT', 0, 1) > 0
end

-- Returns whether a key comes before another. Lua itself would compare them as the words of some language.
local function is_before(one, other)
  for i = 1, math.min(#one, #other) do
    local byte, other_byte = one:byte(i), other:byte(i)
    if byte ~= other_byte then return byte < other_byte end
  end
  return #one < #other
end

-- Returns the keys of a store in a range, as it is to be read, those that have expired included.
local function keys_in(store_keys, start, stop, limit, reverse)
  local command, one, other = 'ZRANGEBYLEX', '[' .. start, '(' .. stop
  if reverse then command, one, other = 'ZREVRANGEBYLEX', other, one end
  return redis.call(command, store_keys, one, other, 'LIMIT', 0, limit)
end

-- Calls `found` with each of these keys and its value until it returns false, and fetches some values at a time.
local FETCHED_AT_ONCE = 100
local function each_value(store, keys, found)
  for from = 1, #keys, FETCHED_AT_ONCE do
    local to = math.min(from + FETCHED_AT_ONCE - 1, #keys)
    for i, value in ipairs(redis.call('HMGET', store, unpack(keys, from, to))) do
      if found(keys[from + i - 1], value or '') == false then return end
    end
  end
end

-- The keys that have expired which a script passes over at most, and those that it has: Redis does nothing else meanwhile.
-- They are deleted soon.
local passed_at_most, passed = 20000, 0
-- Calls `found` with each key of a store in a range, as it is to be read, until it returns false; with its value, too, if
-- that is wanted. Leaves out those that have expired. Returns false if they are too many.
local function each_in(store, store_keys, expiring, start, stop, limit, reverse, with_values, found)
  if not is_any_due(expiring) then
    local keys = keys_in(store_keys, start, stop, limit, reverse)
    if with_values then
      each_value(store, keys, found)
      return
    end
    for _, key in ipairs(keys) do
      if found(key) == false then return end
    end
    return
  end
  local left = limit
  repeat
    local keys, goes_on = keys_in(store_keys, start, stop, FETCHED_AT_ONCE, reverse), true
    each_value(store, keys, function(key, value)
      if live(key, value) then
        left = left - 1
        goes_on = found(key, value) ~= false and left > 0
      else
        passed = passed + 1
      end
      return goes_on
    end)
    local last = keys[#keys]
    if reverse then stop = last else start = last and last .. '\0' end
    if passed > passed_at_most then return false end
  until not goes_on or #keys < FETCHED_AT_ONCE
end

-- Returns the number of keys of a store in a range, those left out that have expired; or nothing, if they are too many.
local function count_in(store, store_keys, expiring, start, stop)
  local COUNTED_AT_ONCE = 1000
  local count = redis.call('ZLEXCOUNT', store_keys, '[' .. start, '(' .. stop)
  if not is_any_due(expiring) then return count end
  local from, time, is_due = 0, clock(), true
  passed = passed + redis.call('ZCOUNT', expiring, '-inf', time)
  if passed > passed_at_most then return nil end
  while is_due do
    local entries, inside = redis.call('ZRANGE', expiring, from, from + COUNTED_AT_ONCE - 1, 'WITHSCORES'), {}
    is_due = #entries == 2 * COUNTED_AT_ONCE
    for i = 1, #entries, 2 do
      local key = entries[i]
      if tonumber(entries[i + 1]) > time then
        is_due = false
      elseif not is_before(key, start) and is_before(key, stop) then
        add(inside, key)
      end
    end
    each_value(store, inside, function(key, value)
      if not live(key, value) then count = count - 1 end
    end)
    from = from + COUNTED_AT_ONCE
  end
  return count
end

-- Deletes keys of a store that have expired, so many at most, but for the spared ones. Returns them, each in a list of its
-- own, and how many bytes they had.
local function sweep(store, store_keys, expiring, most, spared)
  local swept, entries, freed = {}, {}, 0
  if redis.call('EXISTS', expiring) == 0 then return swept, freed end
  local due = redis.call('ZRANGEBYSCORE', expiring, '-inf', clock(), 'LIMIT', 0, most)
  each_value(store, due, function(key, value)
    if not spared[key] then
      add(entries, key)
      -- An earlier version may have changed the key, which knows no expiry.
      if not live(key, value) then
        add(swept, {key})
        freed = freed + #key + #value
        redis.call('HDEL', store, key)
        redis.call('ZREM', store_keys, key)
      end
    end
  end)
  if #entries > 0 then redis.call('ZREM', expiring, unpack(entries)) end
  return swept, freed
end

-- Returns the account that a reply to a request counts for, by its stored value: a member's, or '' that of all guests. Then how
-- long its first fields are, with all before them, and its entry where the account's replies are in order. See replies.rs.
local function account_of(key, reply)
  local account, head = '', 9 + 92
  if reply:sub(head + 1, head + 12) == ',"account":"' then
    account, head = reply:sub(head + 13, head + 28), head + 29
  end
  local letter = #reply == head + 1 and 's' or 'r'
  return account, head, account == '' and key or account .. letter .. reply:sub(2, 9) .. key
end

-- Returns a function that adds a reply to the lists of its account, or with -1 takes it out. The member '~' has the
-- bytes of all members.
local function reply_lists(replies, short_replies, reply_bytes, member_replies, replies_by_member, member_reply_bytes)
  return function(key, value, by)
    local account, head, entry = account_of(key, value)
    local expiry = expiry_of(key, value)
    local bytes = string.format('%.0f', by * (#key + #value))
    local function change(list, score, member)
      if by > 0 then redis.call('ZADD', list, score, member) else redis.call('ZREM', list, member) end
    end
    if account == '' then
      change(#value == head + 1 and short_replies or replies, expiry, key)
      if redis.call('INCRBY', reply_bytes, bytes) <= 0 then redis.call('DEL', reply_bytes) end
      return
    end
    change(member_replies, expiry, key)
    change(replies_by_member, 0, entry)
    for _, member in ipairs({account, '~'}) do
      local left = redis.call('ZINCRBY', member_reply_bytes, bytes, member)
      if tonumber(left) <= 0 then redis.call('ZREM', member_reply_bytes, member) end
    end
  end
end

-- Returns the bytes of a store, and the number of the last commit that changed it.
local function read_usage(usage)
  -- An earlier version had no number.
  local bytes, number = (redis.call('GET', usage) or ''):match('^(%d+) ?(%d*)$')
  return tonumber(bytes or '0'), tonumber(number or '') or 0
end

-- Returns the bytes that count in an inbox: in all, and of one circle's. An entry counts as its bytes, and as its share of
-- the entries that there may be.
local function inbox_usage(inbox, circle)
  local held = redis.pcall('HMGET', inbox .. ':bytes', 'all', circle)
  return tonumber(held[1] or '0'), tonumber(held[2] or '0')
end

-- Puts messages into an inbox, each a name and what it says. Its first pair is the circle, and what the entry counts as.
-- False, where there is no inbox.
local function push_to_inbox(inbox, circle, counts, messages, from, to)
  local text = string.format('%.0f', counts)
  local sent = redis.pcall('XADD', inbox, 'NOMKSTREAM', '*', circle, text, unpack(messages, from, to))
  -- Where its slot moves just now, the gateway finds out by itself.
  if not sent or type(sent) == 'table' and sent.err then return sent end
  local size = inbox .. ':bytes'
  redis.pcall('HINCRBY', size, circle, text)
  if redis.pcall('HINCRBY', size, 'all', text) == counts then
    -- It is new, and goes with the inbox. That it is there longer is seen to by the gateway.
    local ttl = redis.pcall('PTTL', inbox)
    if type(ttl) == 'number' and ttl > 0 then redis.pcall('PEXPIRE', size, ttl) end
  end
  return sent
end

-- The last of those messages of a list, from this one on, that go into one entry: so many, and so many bytes or one more.
local function last_of(messages, from)
  local AT_ONCE, BYTES_AT_ONCE = 1000, 1048576
  local to, bytes = from - 1, 0
  repeat
    bytes = bytes + #messages[to + 1] + #messages[to + 2]
    to = to + 2
  until to >= #messages or to - from + 1 >= AT_ONCE or bytes >= BYTES_AT_ONCE
  return to, bytes
end

-- An outcome that says that nobody can tell, and how long one may be that it takes no part of what is for the long ones.
local UNAVAILABLE, SHORT = '{"Err":"unavailable"}', 512

-- Sends what became of a circle's jobs, each a name and what it says. Long ones of a circle take no more than there is room
-- beside them, so that other circles find some; beyond that, short ones are sent in their place. Where not even these have
-- room, whoever waits finds out when the time is up.
local function send_outcomes(inbox, circle, most, most_bytes, outcomes)
  local all, own = inbox_usage(inbox, circle)
  local room, bytes = most_bytes - all - own, 0
  for i = 1, #outcomes, 2 do
    if #outcomes[i + 1] > SHORT and bytes + #outcomes[i + 1] > room then outcomes[i + 1] = UNAVAILABLE end
    bytes = bytes + #outcomes[i] + #outcomes[i + 1]
  end
  local least = math.floor(most_bytes / most)
  if all + math.max(bytes, least) > most_bytes then return end
  local from = 1
  while from <= #outcomes do
    local to, bytes = last_of(outcomes, from)
    push_to_inbox(inbox, circle, math.max(bytes, least), outcomes, from, to)
    from = to + 1
  end
end

-- Sends events of a circle, each a name and what it says. False, where it is to get no more: there is no inbox, or no room. They leave half of it to outcomes,
-- and of the rest, a circle's take no more than half of the room beside them. Beyond that, the gateway is told to look into
-- the log, and isn't sent any more of the circle's until it watches it again.
local function send_events(inbox, circle, most, most_bytes, events, from, to)
  local all, own = inbox_usage(inbox, circle)
  local bytes = 0
  for i = from, to do bytes = bytes + #events[i] end
  local counts = math.max(bytes, math.floor(most_bytes / most))
  if all + counts <= most_bytes / 2 and own + counts <= (most_bytes - all) / 2 then
    return push_to_inbox(inbox, circle, counts, events, from, to)
  end
  -- There is one for each circle at most, so these need no bound.
  local look = circle .. ' look'
  local sent = push_to_inbox(inbox, circle, #circle + #look, {look, ''}, 1, 2)
  return type(sent) == 'table' and sent
end

-- Sends messages of a circle, each a name and what it says, to gateways that are in one of its sets of watchers.
local function send_to(gateways, jobs, watchers, circle, inbox_length, inbox_bytes, messages)
  for _, gateway in ipairs(gateways) do
    local inbox = partition_key(jobs, 'inbox:' .. gateway)
    local from = 1
    while from <= #messages do
      local to = last_of(messages, from)
      if not send_events(inbox, circle, inbox_length, inbox_bytes, messages, from, to) then
        redis.call('SREM', watchers, gateway)
        break
      end
      from = to + 1
    end
  end
end

-- Notes the size of a store after commits that have changed it, the last of which has this number, and tells the gateways
-- that watch. Each is a list of writes, which begin with their keys.
local function note_commits(jobs, usage, commit_watchers, circle, inbox_length, inbox_bytes, commits, size, last)
  redis.call('SET', usage, string.format('%.0f %.0f', size, last))
  local gateways = redis.call('SMEMBERS', commit_watchers)
  if #gateways == 0 then return end
  local messages = {}
  for i, writes in ipairs(commits) do
    local keys = {}
    for n, write in ipairs(writes) do keys[n] = #write[1] .. ':' .. write[1] end
    add(messages, string.format('%s commit %.0f', circle, last - #commits + i))
    add(messages, table.concat(keys))
  end
  send_to(gateways, jobs, commit_watchers, circle, inbox_length, inbox_bytes, messages)
end

-- Gives a circle's events their numbers, keeps them, and sends them to the gateways that listen.
local emit
do
  -- Drops the oldest events of a log until it is within its bounds, so many at most. From the number `from` on, it is known by
  -- how many bytes they exceed their shares. Returns by how many the others do.
  local function trim(events, most, most_bytes, from, excess, spare)
    local length, share = redis.call('XLEN', events), math.floor(most_bytes / most)
    local function is_full() return length > 1 and (length > most or length * share + excess > most_bytes) end
    while is_full() and spare > 0 do
      local dropped = {}
      for _, entry in ipairs(redis.call('XRANGE', events, '-', '+', 'COUNT', math.min(spare, 8))) do
        if not is_full() then break end
        add(dropped, entry[1])
        length = length - 1
        if tonumber(entry[1]:match('^%d+')) >= from then
          excess = math.max(excess - math.max(#entry[2][2] - share, 0), 0)
        end
      end
      redis.call('XDEL', events, unpack(dropped))
      spare = spare - #dropped
    end
    return excess
  end

  -- Events that are dropped at most, beside as many as are added, and as many as the large ones of these count for.
  local AT_ONCE = 64
  function emit(
    jobs, event_sequence, events, event_excess, watchers, circle, most, most_bytes, inbox_length, inbox_bytes, list
  )
    local number, share = redis.call('INCRBY', event_sequence, #list) - #list, math.floor(most_bytes / most)
    local from, to, before = (redis.call('GET', event_excess) or ''):match('^(%d+) (%d+) (%d+)$')
    from, before = tonumber(from or ''), tonumber(before or '')
    -- An earlier version has added events, and has counted none.
    if tonumber(to or '') ~= number then from, before = number + 1, 0 end
    local excess, fields = before, {}
    for _, event in ipairs(list) do excess = excess + math.max(#event - share, 0) end
    local spare = AT_ONCE + #list + math.floor((excess - before) / math.max(share, 1))
    for _, event in ipairs(list) do
      number = number + 1
      local text = string.format('%.0f', number)
      if excess == 0 then
        redis.pcall('XADD', events, 'MAXLEN', most, text .. '-0', 'event', event)
      else
        redis.pcall('XADD', events, text .. '-0', 'event', event)
      end
      add(fields, circle .. ' ' .. text)
      add(fields, event)
    end
    if excess > 0 then
      excess = trim(events, most, most_bytes, from, excess, spare)
      redis.call('SET', event_excess, string.format('%.0f %.0f %.0f', from, number, excess))
    end
    send_to(redis.call('SMEMBERS', watchers), jobs, watchers, circle, inbox_length, inbox_bytes, fields)
  end
end
