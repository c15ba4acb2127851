#!lua
-- Ship: put commands into a lane, each at most once.
--
-- A source (a spool file, a batch load, a Celery task) numbers its commands upwards. The lane keeps
-- the last number of each source as its mark, "<number>@<unix seconds>", and ignores what is at or
-- below it, so a call that landed but whose answer was lost may simply be made again.
-- The mark lives in the same slot and is replicated with the entries: a Redis that falls back to an
-- older state falls back in both, and then takes again what it has lost.
--
-- A sender says which mark it left behind: a lower one shows the fall, and nothing is added until
-- the sender has gone back, or a newer number would hide the gap for ever.
--
-- KEYS: stream, marks, counts
-- ARGV: source, doorbell channel, lane's name, most bytes, mark left behind,
--       "<number>:<bytes>," for each command, and all their messages, one after the other
--       (two arguments instead of two a command: the sender shares its interpreter lock with the
--       application's threads)
-- Returns {added, mark}; added is -1 where the lane is full, -2 where the mark fell back.
-- include klaviyo_relay/ids
local stream, marks, counts = KEYS[1], KEYS[2], KEYS[3]
local source, channel, lane, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local mark = tonumber(string.match(redis.call('HGET', marks, source) or '0', '^%d+'))
if mark < tonumber(ARGV[5]) then
  return {-2, mark}
end
if tonumber(redis.call('HGET', counts, 'bytes') or '0') >= most then
  return {-1, mark}
end
local added, bytes, fingerprints = 0, 0, 0
local from = 1
for number, length in string.gmatch(ARGV[6], '(%d+):(%d+),') do
  local size = tonumber(length)
  if tonumber(number) > mark then
    local message = string.sub(ARGV[7], from, from + size - 1)
    redis.call('XADD', stream, '*', 'e', message, 'o', source .. ':' .. number)
    mark, added, bytes = tonumber(number), added + 1, bytes + size
    fingerprints = sum_of(fingerprints, fingerprint_of(digest_of(id_of(message))))
  end
  from = from + size
end
if added > 0 then
  redis.call('HSET', marks, source, string.format('%d@%s', mark, redis.call('TIME')[1]))
  redis.call('HINCRBY', counts, 'accepted', added)
  redis.call('HINCRBY', counts, 'bytes', bytes)
  redis.call('HINCRBY', counts, 'revision', 1)
  add_to_sum(counts, 'accepted_ids', fingerprints)
  redis.call('PUBLISH', channel, lane)
end
return {added, mark}
