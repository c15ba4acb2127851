#!lua flags=allow-oom
-- Breaker: what an answer, or the lack of one, means for a circuit breaker. See breaker.py.
--
-- KEYS: the breaker, a hash: failures, failed (when the last counted one was noted), until, probe
--       (token and end of the probe under way), succeeded, reason, since, paused (total of seconds)
-- ARGV: operation and its arguments; times are ms, ages say how long ago a request was sent:
--   'failed', age, ms to wait, failures that open it
--   'succeeded', age, failures that open it
--   'open', ms to wait, reason, failures that open it
--   'probe', token, ms that it may take
--   'unprobe', token
--   'close'
-- Of a person's pause only 'close' changes anything.
-- A time that lies further ahead than any wait, or a failure that is yet to come, was noted before
-- the clock was set back (another server has taken over): it holds nothing up.
-- Returns: of 'failed' the failures in a row; of 'probe' and 'succeeded' 1 where it was so, else 0.
local key, operation = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The longest wait (retry.py, judge.py) and the longest probe (breaker.py), in ms.
local WAIT_MOST, PROBE_MOST = 60000, 15000

local function get(field)
  return tonumber(redis.call('HGET', key, field) or '0')
end

local function is_ahead(field, most)
  local at = get(field)
  return at > now and at <= now + most
end

local function when_failed()
  local at = get('failed')
  return at <= now and at or 0
end

local function close()
  local since = get('since')
  if since > 0 then
    redis.call('HINCRBY', key, 'paused', math.max(0, now - since))
  end
  redis.call('HDEL', key, 'failures', 'failed', 'until', 'probe', 'probe_until', 'reason', 'since')
end

-- What a person has paused only a person resumes.
if operation ~= 'close' and redis.call('HGET', key, 'reason') == 'person' then
  return 0
end
if operation == 'failed' then
  local age, wait, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  local failures = get('failures')
  -- Requests that were under way together when it broke are one failure.
  if failures == 0 or now - age >= when_failed() then
    failures = failures + 1
    redis.call('HSET', key, 'failures', failures, 'failed', now)
    if failures >= most then
      redis.call('HSET', key, 'until', now + wait)
    end
  end
  redis.call('HDEL', key, 'probe', 'probe_until')
  return failures
elseif operation == 'succeeded' then
  redis.call('HSET', key, 'succeeded', now)
  local failures = get('failures')
  -- An open one is closed only by what was sent after it opened.
  if failures > 0 and (failures < tonumber(ARGV[3]) or now - ARGV[2] >= when_failed()) then
    close()
    return 1
  end
  return 0
elseif operation == 'open' then
  if get('since') == 0 then
    redis.call('HSET', key, 'since', now)
  end
  redis.call('HSET', key, 'failures', math.max(get('failures'), tonumber(ARGV[4])), 'failed', now)
  redis.call('HSET', key, 'until', now + ARGV[2], 'reason', ARGV[3])
  redis.call('HDEL', key, 'probe', 'probe_until')
  return 1
elseif operation == 'probe' then
  if is_ahead('until', WAIT_MOST) or is_ahead('probe_until', PROBE_MOST) then
    return 0
  end
  redis.call('HSET', key, 'probe', ARGV[2], 'probe_until', now + ARGV[3])
  return 1
elseif operation == 'unprobe' then
  if redis.call('HGET', key, 'probe') == ARGV[2] then
    redis.call('HDEL', key, 'probe', 'probe_until')
    return 1
  end
  return 0
elseif operation == 'close' then
  close()
  return 1
end
return redis.error_reply('unknown operation ' .. operation)
