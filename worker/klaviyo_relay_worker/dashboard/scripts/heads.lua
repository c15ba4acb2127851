#!lua flags=no-writes
-- Heads: one page of a lane's dead letters without the commands themselves.
--
-- The command is the last member of a stored letter, and may be large and is private: it does not
-- leave Redis. Inside of texts every quotation mark is escaped, so the name of a member is found
-- where the member is.
--
-- KEYS: dead
-- ARGV: cursor, about how many
-- Returns {next cursor, id, head, id, head, ...}.
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local heads = {page[1]}
for at = 1, #page[2], 2 do
  local letter = page[2][at + 1]
  local stop = string.find(letter, ',"envelope":', 1, true)
    or string.find(letter, ',"message":', 1, true)
  heads[#heads + 1] = page[2][at]
  heads[#heads + 1] = stop and string.sub(letter, 1, stop - 1) .. '}' or letter
end
return heads
