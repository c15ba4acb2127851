#!lua flags=allow-oom
-- Quota: reserve one request to an endpoint, or say how long to wait for it.
--
-- The times of the last requests are a list, oldest first. A request may go out if the one `limit`
-- places before it is older than the window: for every window, exactly and at any moment, not only
-- between two ticks of a clock.
--
-- KEYS: times, blocked
-- ARGV: limit and window (ms), repeated; the longest window last
-- Returns 0 if reserved, else milliseconds to wait.
local times, blocked = KEYS[1], KEYS[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local wait = math.max(0, redis.call('PTTL', blocked))
for at = 1, #ARGV, 2 do
  local earlier = redis.call('LINDEX', times, -tonumber(ARGV[at]))
  if earlier then
    wait = math.max(wait, tonumber(earlier) + tonumber(ARGV[at + 1]) - now)
  end
end
if wait > 0 then
  return wait
end
redis.call('RPUSH', times, now)
redis.call('LTRIM', times, -tonumber(ARGV[#ARGV - 1]), -1)
redis.call('PEXPIRE', times, tonumber(ARGV[#ARGV]) + 1000)
return 0
