#!lua flags=allow-oom
-- Joins: when we last made a person join a list that an unsubscribe of theirs waits for.
--
-- KEYS: joins
-- ARGV: 'await' (any), 'join' (only those awaited) or 'forget'; milliseconds since 1970;
--       then fields, each the pseudonym of a person and a list
-- Returns how many fields were written.
local joins, operation, now = KEYS[1], ARGV[1], ARGV[2]
local written = 0
for at = 3, #ARGV do
  if operation == 'forget' then
    written = written + redis.call('HDEL', joins, ARGV[at])
  elseif operation == 'await' then
    written = written + redis.call('HSETNX', joins, ARGV[at], now)
  elseif redis.call('HEXISTS', joins, ARGV[at]) == 1 then
    redis.call('HSET', joins, ARGV[at], now)
    written = written + 1
  end
end
return written
