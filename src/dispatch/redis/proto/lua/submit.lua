local before = in_stream(jobs, read_count(job_counts, 'plays'))
local total = before
local some_wait = total > 0 and redis.call('EXISTS', waiting_callers) == 1

-- How many plays wait, or are in the stream beyond its places.
local queued, texts, waited = {}, {}, nil
local function kept_back()
  waited = waited or redis.call('ZCARD', waiting_plays)
  return waited + #queued / 2 + math.max(total - 2 * most, 0)
end

-- Returns true if so many more may wait of a caller, though the queue is full: all of them are no more than its share,
-- were the queue shared alike.
local function has_share(caller, number)
  local callers = redis.call('ZCARD', waiting_callers)
  if not redis.call('ZSCORE', waiting_callers, caller) then callers = callers + 1 end
  local others = math.max(math.floor(most_waiting / callers), 1) - number
  return others >= 0 and #waiting_of(waiting_plays, caller, others, 1) == 0
end

-- When those came that wait: that counts in the time that they have.
local now = string.format('%.0f ', clock())

local answers, counts, scores = {}, {}, {}
for _ = 1, callers do
  take callers
  local own = total > 0 and math.min(read_count(job_counts, caller), total) or 0
  local waits = some_wait and redis.call('ZSCORE', waiting_callers, caller)
  local new, is_refused = 0, false
  for _ = 1, num_plays do
    take new_plays
    local answer = 0
    if is_refused then
      answer = 0
    elseif not waits and (own + total < 2 * most or own == 0 and total < most_in_stream(most, most_waiting) and kept_back() < 2 * most_waiting) then
      answer = redis.call('XADD', jobs, '*', 'play', play)
      own = own + 1
      total = total + 1
    elseif kept_back() < most_waiting or kept_back() < 2 * most_waiting and has_share(caller, new + 1) then
      local id = name_of(play)
      add(queued, 0)
      add(queued, caller .. id)
      add(texts, id)
      add(texts, now .. play)
      new = new + 1
      waits = true
      answer = 1
    else
      is_refused = true
    end
    add(answers, answer)
  end
  counts[caller] = own
  if new > 0 then
    add(scores, own)
    add(scores, caller)
  end
end
if #queued > 0 then
  redis.call('ZADD', waiting_plays, unpack(queued))
  redis.call('HSET', plays, unpack(texts))
  redis.call('ZADD', waiting_callers, unpack(scores))
end
if total ~= before then
  counts.plays = total
  write_counts(job_counts, counts)
end
return answers
