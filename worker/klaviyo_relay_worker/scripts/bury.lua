#!lua flags=allow-oom
-- Bury: a command that came in by the Celery door and is invalid becomes a dead letter at once.
--
-- KEYS: counts, dead
-- ARGV: command id, letter
-- Returns 1, or 0 if it was there already (a task that was delivered twice).
-- include klaviyo_relay/ids
local counts, dead = KEYS[1], KEYS[2]
if redis.call('HSETNX', dead, ARGV[1], ARGV[2]) == 0 then
  return 0
end
redis.call('HINCRBY', counts, 'accepted', 1)
redis.call('HINCRBY', counts, 'revision', 1)
add_to_sum(counts, 'accepted_ids', fingerprint_of(digest_of(ARGV[1])))
return 1
