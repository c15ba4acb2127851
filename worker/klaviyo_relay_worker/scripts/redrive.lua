#!lua flags=allow-oom
-- Redrive: dead letters back into their lane, or away for good.
--
-- KEYS: stream, counts, dead
-- ARGV: 'redrive' or 'discard', doorbell channel, lane's name, then command id and message, repeated
-- Returns how many of them were dead letters.
local stream, counts, dead = KEYS[1], KEYS[2], KEYS[3]
local moved = 0
for at = 4, #ARGV, 2 do
  if redis.call('HEXISTS', dead, ARGV[at]) == 1 then
    if ARGV[1] == 'redrive' then
      redis.call('XADD', stream, '*', 'e', ARGV[at + 1], 'o', 'redrive')
      redis.call('HINCRBY', counts, 'bytes', #ARGV[at + 1])
    else
      redis.call('HINCRBY', counts, 'discarded', 1)
    end
    redis.call('HDEL', dead, ARGV[at])
    moved = moved + 1
  end
end
if moved > 0 and ARGV[1] == 'redrive' then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return moved
