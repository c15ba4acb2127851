#!lua flags=allow-oom
-- Purge: take a forgotten person's commands out of a lane; they count as dropped.
--
-- A planner that was at the lane before the tombstone was planted may have some of them on their way
-- to Klaviyo, and settles them itself: while it holds the lease only dead letters are purged.
--
-- KEYS: stream, counts, parked, due, dead, lease, journal
-- ARGV: token of that planner or '', rule, most bytes of the journal (0: none), then kind and name of each command, repeated:
--   's', id in the stream
--   'p', id of a parked command
--   'd', id of a dead letter
-- Returns how many were there.
-- include klaviyo_relay/ids
-- include klaviyo_relay_worker/journal
local stream, counts, parked, due, dead, lease, journal =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local rule = ARGV[2]
local is_left_alone = redis.call('GET', lease) == ARGV[1]

-- Each takes a command away and returns its digest, or nil if it is not there.
local takers = {}

function takers.d(id)
  return redis.call('HDEL', dead, id) == 1 and digest_of(id) or nil
end

function takers.p(id)
  if is_left_alone then
    return nil
  end
  redis.call('ZREM', due, id)
  return redis.call('HDEL', parked, id) == 1 and digest_of(id) or nil
end

function takers.s(key)
  local entry = not is_left_alone and redis.call('XRANGE', stream, key, key)[1]
  if not entry then
    return nil
  end
  redis.call('HINCRBY', counts, 'bytes', -#entry[2][2])
  redis.call('XDEL', stream, key)
  return digest_of(id_of(entry[2][2]))
end

local digests, settled = {}, 0
for at = 4, #ARGV, 2 do
  local digest = takers[ARGV[at]](ARGV[at + 1])
  if digest then
    digests[#digests + 1] = digest
    settled = sum_of(settled, fingerprint_of(digest))
  end
end
if #digests > 0 then
  redis.call('HINCRBY', counts, 'dropped:' .. rule, #digests)
  redis.call('HINCRBY', counts, 'revision', 1)
  add_to_sum(counts, 'settled_ids', settled)
  local note = '{"rule":"' .. rule .. '"}'
  write_journal(journal, counts, tonumber(ARGV[3]), 'dropped', note, table.concat(digests))
end
return #digests
