#!lua flags=allow-oom
-- Settle: write down what became of commands, and take them from where they stood.
--
-- Only the holder of the lease may do it. The destination is written before the source is deleted.
-- It runs over Redis's memory limit (allow-oom): settling is what makes room again.
--
-- KEYS: stream, counts, lease, parked, due, dead, following
-- ARGV: lease token, then operations:
--   'delivered', n, then n keys, bytes
--   'dropped', rule, n, then n keys, bytes
--   'dead', key, command id, letter, bytes
--   'parked', key, command id, record, due (ms), bytes
--   'following', job id, record, due (ms), n, then n keys, bytes
--   'postponed', job id, due (ms)
--   'followed', job id      (before its rows are settled by their keys 'f:...'; ends the script
--                            where that was done already)
-- A key is an id in the stream, 'p:<command id>' of a parked one, or 'f:<command id>' of a row in a
-- job; rows have no place of their own: they go with their job's record.
-- Returns the number of operations, or -1 if the lease is lost.
local stream, counts, lease, parked, due, dead, following =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
if redis.call('GET', lease) ~= ARGV[1] then
  return -1
end

local at = 2
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local function remove(key)
  local kind = string.sub(key, 1, 2)
  if kind == 'p:' then
    local id = string.sub(key, 3)
    redis.call('ZREM', due, id)
    return redis.call('HDEL', parked, id)
  elseif kind == 'f:' then
    redis.call('HINCRBY', counts, 'following', -1)
    return 1
  end
  return redis.call('XDEL', stream, key)
end

-- A call whose answer was lost is made again: what is gone already is not counted twice.
local function free(removed, bytes)
  if removed > 0 and bytes ~= '0' then
    redis.call('HINCRBY', counts, 'bytes', '-' .. bytes)
  end
end

local function remove_all(n)
  local removed = 0
  for _ = 1, n do
    removed = removed + remove(take())
  end
  free(removed, take())
  return removed
end

local done = 0
while at <= #ARGV do
  local operation = take()
  if operation == 'delivered' then
    redis.call('HINCRBY', counts, 'delivered', remove_all(tonumber(take())))
  elseif operation == 'dropped' then
    local rule = take()
    redis.call('HINCRBY', counts, 'dropped:' .. rule, remove_all(tonumber(take())))
  elseif operation == 'dead' then
    local key, id, letter = take(), take(), take()
    redis.call('HSET', dead, id, letter)
    free(remove(key), take())
  elseif operation == 'parked' then
    local key, id, record, when, bytes = take(), take(), take(), take(), take()
    redis.call('HSET', parked, id, record)
    redis.call('ZADD', due, when, id)
    if string.sub(key, 1, 2) ~= 'p:' then
      free(remove(key), bytes)
    end
  elseif operation == 'following' then
    local job, record, when = take(), take(), take()
    redis.call('HSET', following, job, record)
    redis.call('ZADD', due, when, 'job:' .. job)
    redis.call('HINCRBY', counts, 'following', remove_all(tonumber(take())))
  elseif operation == 'postponed' then
    local job, when = take(), take()
    redis.call('ZADD', due, when, 'job:' .. job)
  elseif operation == 'followed' then
    local job = take()
    if redis.call('HDEL', following, job) == 0 then
      return done
    end
    redis.call('ZREM', due, 'job:' .. job)
  else
    return redis.error_reply('unknown operation ' .. operation)
  end
  done = done + 1
end
return done
