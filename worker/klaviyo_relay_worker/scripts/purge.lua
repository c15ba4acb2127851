#!lua flags=allow-oom
-- Purge: take a forgotten person's commands out of a lane; they count as dropped.
--
-- A planner that was at the lane before the tombstone was planted may have some of them on their way
-- to Klaviyo, and settles them itself: while it holds the lease only dead letters are purged.
--
-- KEYS: stream, counts, parked, due, dead, lease
-- ARGV: token of that planner or '', rule, then kind and name of each command, repeated:
--   's', id in the stream
--   'p', id of a parked command
--   'd', id of a dead letter
-- Returns how many were there.
local stream, counts, parked, due, dead, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local is_left_alone = redis.call('GET', lease) == ARGV[1]

local function take_from_stream(id)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if not entry then
    return 0
  end
  redis.call('HINCRBY', counts, 'bytes', -#entry[2][2])
  return redis.call('XDEL', stream, id)
end

local purged = 0
for at = 3, #ARGV, 2 do
  local kind, name = ARGV[at], ARGV[at + 1]
  if kind == 'd' then
    purged = purged + redis.call('HDEL', dead, name)
  elseif is_left_alone then
    purged = purged + 0
  elseif kind == 'p' then
    redis.call('ZREM', due, name)
    purged = purged + redis.call('HDEL', parked, name)
  else
    purged = purged + take_from_stream(name)
  end
end
if purged > 0 then
  redis.call('HINCRBY', counts, 'dropped:' .. ARGV[2], purged)
end
return purged
