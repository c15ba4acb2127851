#!lua flags=allow-oom
-- Throttle: Klaviyo answered 429. Nothing goes to the endpoint before Retry-After, and as our own
-- count allowed the request, somebody else uses the same limit: our share of it is halved, once for
-- all requests that were under way together.
--
-- KEYS: state
-- ARGV: milliseconds to wait
-- Returns our share after it.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'blocked', 'share', 'share_at', 'blocked_at')
local blocked, share = tonumber(found[1] or '0'), 1
if found[2] then
  -- A clock that was set back makes nothing shrink.
  share = math.min(1, tonumber(found[2]) + math.max(0, now - tonumber(found[3])) / 150000)
end
if tonumber(found[4] or '0') > now + 1000 then
  blocked = 0 -- by a clock that was set back since, see quota.lua
end
if blocked <= now then
  share = math.max(0.05, share / 2)
end
redis.call('HSET', KEYS[1], 'share', string.format('%.4f', share), 'share_at', now)
blocked = string.format('%.0f', math.max(blocked, now + ARGV[1]))
redis.call('HSET', KEYS[1], 'blocked', blocked, 'blocked_at', now)
return string.format('%.4f', share)
