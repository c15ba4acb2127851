#!lua flags=no-writes
-- Status: one lane at one instant, so that the numbers add up.
--
-- KEYS: stream, counts, parked, dead, state, lease
-- Returns {backlog, counts, parked, dead, oldest entry id, state, whether a planner is at it}.
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
return {
  redis.call('XLEN', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HLEN', KEYS[3]),
  redis.call('HLEN', KEYS[4]),
  first[1] and first[1][1] or '',
  redis.call('HGETALL', KEYS[5]),
  redis.call('EXISTS', KEYS[6]),
}
