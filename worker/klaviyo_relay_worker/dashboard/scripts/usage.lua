#!lua flags=no-writes
-- Usage: how many requests went to an endpoint of late, and what is known of its limits.
--
-- The times of the requests are a list, oldest first (see quota.lua), so halving finds the place
-- where a window begins.
--
-- KEYS: times, state
-- ARGV: windows in milliseconds
-- Returns {now (ms), limits that Klaviyo said, our share of them, when that was set, blocked until,
--          then the requests within each window}.
local times, state = KEYS[1], KEYS[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', state, 'limits', 'share', 'share_at', 'blocked')
local length = redis.call('LLEN', times)

local function newer_than(moment)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', times, middle)) > moment then
      high = middle
    else
      low = middle + 1
    end
  end
  return length - low
end

local usage = {now, found[1] or '', found[2] or '1', found[3] or '0', found[4] or '0'}
for at = 1, #ARGV do
  usage[#usage + 1] = newer_than(now - tonumber(ARGV[at]))
end
return usage
