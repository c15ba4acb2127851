#!lua flags=allow-oom
-- Set: fields of a hash, also in a full Redis, which refuses a plain HSET: delivering makes room there.
--
-- KEYS: the hash
-- ARGV: field, value, repeated
-- Returns how many fields are new.
return redis.call('HSET', KEYS[1], unpack(ARGV))
