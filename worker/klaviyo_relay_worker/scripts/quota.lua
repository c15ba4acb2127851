#!lua flags=allow-oom
-- Quota: reserve one request to an endpoint, or say how long to wait for it.
--
-- The times of the last requests are a list, oldest first. A request may go out if the one `limit`
-- places before it is older than the window: for every window, exactly and at any moment, not only
-- between two ticks of a clock.
--
-- Others may use up the same account's limit, which shows in an answer 429 that we did not earn. Then
-- our share of the limit is halved (see throttle.lua), and grows again with time. Not of a day's
-- limit: what we used of it this morning says nothing of how fast we are now.
--
-- A live request that has to wait lays claim to the next place: bulk ones stand back until it came.
--
-- A clock that is set back (another server has taken over) prolongs no wait: the times move back with
-- it, and what was blocked or claimed by the old clock is forgotten. Not only passed over: the new
-- clock would reach it. A step of a second is none: no Retry-After is forgotten for that.
--
-- KEYS: times, state
-- ARGV: 'live' or 'bulk', the share of a limit that this kind may use,
--       then limit, period (s) and window (ms) of each limit, the longest last
-- Returns 0 if reserved, else milliseconds to wait.
local times, state = KEYS[1], KEYS[2]
local is_live, share = ARGV[1] == 'live', tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call(
  'HMGET', state, 'blocked', 'share', 'share_at', 'claimed', 'limits', 'blocked_at'
)
local last = tonumber(redis.call('LINDEX', times, -1) or '0')
local blocked, claimed = tonumber(found[1] or '0'), tonumber(found[4] or '0')
local share_at, blocked_at = tonumber(found[3] or '0'), tonumber(found[6] or '0')

if blocked_at > now + 1000 then
  blocked = 0
  redis.call('HDEL', state, 'blocked', 'blocked_at')
end
if math.max(last, blocked_at, share_at) > now + 1000 then
  claimed = 0
  redis.call('HDEL', state, 'claimed')
end
if share_at > now then
  share_at = now
  redis.call('HSET', state, 'share_at', now)
end
if last > now then
  local all = redis.call('LRANGE', times, 0, -1)
  redis.call('DEL', times)
  for _, time in ipairs(all) do
    redis.call('RPUSH', times, tonumber(time) - (last - now))
  end
  redis.call('PEXPIRE', times, tonumber(ARGV[#ARGV]) + 1000)
end

local wait, grown = math.max(0, blocked - now), 1
if found[2] then
  -- Back at the whole limit after two and a half minutes at most.
  grown = math.min(1, tonumber(found[2]) + (now - share_at) / 150000)
end
if not is_live and claimed > now then
  wait = math.max(wait, claimed - now)
end

-- What Klaviyo says of its limits, "<limit>;<period>,", is truer than our table.
local learned = {}
for limit, period in string.gmatch(found[5] or '', '(%d+);(%d+)') do
  learned[period] = tonumber(limit)
end

local longest, most = 0, 0
for at = 3, #ARGV, 3 do
  local limit = learned[ARGV[at + 1]] or tonumber(ARGV[at])
  longest, most = tonumber(ARGV[at + 2]), math.max(most, limit)
  local part = tonumber(ARGV[at + 1]) <= 60 and share * grown or share
  local earlier = redis.call('LINDEX', times, -math.max(1, math.floor(limit * part)))
  if earlier then
    wait = math.max(wait, tonumber(earlier) + longest - now)
  end
end
if wait > 0 then
  if is_live then
    redis.call('HSET', state, 'claimed', now + wait + 2000)
  end
  return wait
end
if is_live and claimed > 0 then
  redis.call('HDEL', state, 'claimed')
end
redis.call('RPUSH', times, now)
redis.call('LTRIM', times, -most, -1)
redis.call('PEXPIRE', times, longest + 1000)
return 0
