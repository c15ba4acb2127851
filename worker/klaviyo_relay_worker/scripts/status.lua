#!lua flags=no-writes
-- Status: one lane at one instant, so that the numbers add up.
--
-- KEYS: stream, counts, parked, dead, due, state, lease
-- Returns {backlog, counts, parked, dead, oldest entry id, earliest due, state}.
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local soonest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
return {
  redis.call('XLEN', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HLEN', KEYS[3]),
  redis.call('HLEN', KEYS[4]),
  first[1] and first[1][1] or '',
  soonest[2] or '',
  redis.call('HGETALL', KEYS[6]),
  redis.call('EXISTS', KEYS[7]),
}
