#!lua flags=allow-oom
-- Redrive: dead letters back into their lane, or away for good.
--
-- KEYS: stream, counts, dead, journal
-- ARGV: 'redrive' or 'discard', doorbell channel, lane's name, most bytes of the journal (0: none),
--       then command id and message, repeated
-- Returns how many of them were dead letters.
-- include klaviyo_relay/ids
-- include klaviyo_relay_worker/journal
local stream, counts, dead, journal = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local is_redrive = ARGV[1] == 'redrive'
local digests, discarded, accepted = {}, 0, 0
for at = 5, #ARGV, 2 do
  if redis.call('HEXISTS', dead, ARGV[at]) == 1 then
    local digest = digest_of(ARGV[at])
    if is_redrive then
      redis.call('XADD', stream, '*', 'e', ARGV[at + 1], 'o', 'redrive')
      -- What could not be read has another name among the dead letters (see settle.lua).
      local own = digest_of(id_of(ARGV[at + 1]))
      if own ~= digest then
        accepted = sum_of(accepted, fingerprint_of(own) - fingerprint_of(digest))
        digest = own
      end
      redis.call('HINCRBY', counts, 'bytes', #ARGV[at + 1])
    else
      redis.call('HINCRBY', counts, 'discarded', 1)
      discarded = sum_of(discarded, fingerprint_of(digest))
    end
    redis.call('HDEL', dead, ARGV[at])
    digests[#digests + 1] = digest
  end
end
if #digests > 0 then
  redis.call('HINCRBY', counts, 'revision', 1)
  add_to_sum(counts, 'accepted_ids', accepted)
  add_to_sum(counts, 'settled_ids', discarded)
  local what = is_redrive and 'redriven' or 'discarded'
  write_journal(journal, counts, tonumber(ARGV[4]), what, '{}', table.concat(digests))
  if is_redrive then
    redis.call('PUBLISH', ARGV[2], ARGV[3])
  end
end
return #digests
