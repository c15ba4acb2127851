#!lua flags=allow-oom
-- Register: make lanes known to sweeps and to `status`.
--
-- In a cluster the register's node may be full while that of the lane is not, and a full Redis
-- refuses a plain SADD.
--
-- KEYS: the register. ARGV: names of lanes.
-- Returns how many were new to it.
return redis.call('SADD', KEYS[1], unpack(ARGV))
