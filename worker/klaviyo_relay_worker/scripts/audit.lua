#!lua flags=no-writes
-- Audit: a page of what a lane stores, without the commands themselves.
--
-- KEYS: the stream, or a hash whose fields are ids
-- ARGV: 'stream', key of the last entry that was read, most entries; or 'hash', cursor, most fields
-- Returns for the stream {last entry's key ('' at the end), entries, sum of their fingerprints}, for
-- a hash {next cursor, ids}.
-- include klaviyo_relay/ids
if ARGV[1] == 'hash' then
  local page = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
  local names = {}
  for at = 1, #page[2], 2 do
    names[#names + 1] = page[2][at]
  end
  return {page[1], names}
end
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], '+', 'COUNT', ARGV[3])
local sum, last = 0, ''
for _, entry in ipairs(page) do
  sum = sum_of(sum, fingerprint_of(digest_of(id_of(entry[2][2]))))
  last = entry[1]
end
return {last, #page, string.format('%.0f', sum)}
