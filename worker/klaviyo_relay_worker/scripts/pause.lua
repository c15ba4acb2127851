#!lua flags=allow-oom
-- Pause: a person stops a lane, or lets it go on. The time of all pauses is kept, since it does not
-- count for what is parked.
--
-- KEYS: state of the lane
-- ARGV: 'pause' or 'resume'
-- Resume ends every other wait, too.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[1] == 'pause' then
  return redis.call('HSETNX', KEYS[1], 'paused', now)
end
local since = redis.call('HGET', KEYS[1], 'paused')
if since then
  -- A clock that was set back makes no time of it.
  redis.call('HINCRBY', KEYS[1], 'pauses', math.max(0, now - since))
end
return redis.call('HDEL', KEYS[1], 'paused', 'since', 'until', 'reason', 'failures')
