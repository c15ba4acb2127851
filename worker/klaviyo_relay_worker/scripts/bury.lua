#!lua flags=allow-oom
-- Bury: a command that came in by the Celery door and is invalid becomes a dead letter at once.
--
-- KEYS: counts, dead
-- ARGV: command id, letter
-- Returns 1, or 0 if it was there already (a task that was delivered twice).
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'accepted', 1)
return 1
