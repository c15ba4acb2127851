#!lua flags=no-writes
-- Quota use: how many requests to an endpoint were reserved lately, and how many Klaviyo allows.
--
-- KEYS: times, state (see quota.lua)
-- ARGV: period (s), the limit of that period as far as our table knows
-- Returns {requests in the last period, limit}.
local times = KEYS[1]
local clock = redis.call('TIME')
local since = clock[1] * 1000 + math.floor(clock[2] / 1000) - ARGV[1] * 1000

-- The times stand in order: look for the first that is young enough.
local all = redis.call('LLEN', times)
local low, high = 0, all
while low < high do
  local middle = math.floor((low + high) / 2)
  if tonumber(redis.call('LINDEX', times, middle)) > since then
    high = middle
  else
    low = middle + 1
  end
end

local limit = tonumber(ARGV[2])
local learned = redis.call('HGET', KEYS[2], 'limits') or ''
for said, period in string.gmatch(learned, '(%d+);(%d+)') do
  if period == ARGV[1] then
    limit = tonumber(said)
  end
end
return {all - low, limit}
