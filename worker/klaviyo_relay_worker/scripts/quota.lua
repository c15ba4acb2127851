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
-- it, and what is blocked or claimed for longer than anybody asks for was so by the old clock.
--
-- KEYS: times, state
-- ARGV: 'live' or 'bulk', the share of a limit that this kind may use,
--       then limit, period (s) and window (ms) of each limit, the longest last
-- Returns 0 if reserved, else milliseconds to wait.
local times, state = KEYS[1], KEYS[2]
local is_live, share = ARGV[1] == 'live', tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', state, 'blocked', 'share', 'share_at', 'claimed', 'limits')

-- The longest Retry-After that is obeyed, with its jitter (retry.py), in ms.
local BLOCKED_MOST, WINDOW_OF_SHARE = 901000, 60
local blocked = tonumber(found[1] or '0') - now
local wait = blocked <= BLOCKED_MOST and math.max(0, blocked) or 0
local grown = 1
if found[2] then
  -- Back at the whole limit after two and a half minutes at most.
  local age = math.max(0, now - tonumber(found[3]))
  grown = math.min(1, tonumber(found[2]) + age / 150000)
end
local claimed = tonumber(found[4] or '0')
if claimed > now + math.max(BLOCKED_MOST, tonumber(ARGV[#ARGV])) + 2000 then
  claimed = 0
end
if not is_live and claimed > now then
  wait = math.max(wait, claimed - now)
end

-- What Klaviyo says of its limits, "<limit>;<period>,", is truer than our table.
local learned = {}
for limit, period in string.gmatch(found[5] or '', '(%d+);(%d+)') do
  learned[period] = tonumber(limit)
end

local last = tonumber(redis.call('LINDEX', times, -1) or '0')
if last > now then
  local all = redis.call('LRANGE', times, 0, -1)
  redis.call('DEL', times)
  for _, time in ipairs(all) do
    redis.call('RPUSH', times, tonumber(time) - (last - now))
  end
  redis.call('PEXPIRE', times, tonumber(ARGV[#ARGV]) + 1000)
end

local longest, most = 0, 0
for at = 3, #ARGV, 3 do
  local limit = learned[ARGV[at + 1]] or tonumber(ARGV[at])
  longest, most = tonumber(ARGV[at + 2]), math.max(most, limit)
  local part = tonumber(ARGV[at + 1]) <= WINDOW_OF_SHARE and share * grown or share
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
