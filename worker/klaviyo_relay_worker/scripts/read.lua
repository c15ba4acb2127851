#!lua flags=no-writes
-- Read: the next entries of a lane as two strings instead of a tree of small ones, which a client
-- would spend most of its time on taking apart.
--
-- KEYS: stream
-- ARGV: key of the last entry that was read, most entries, most bytes (but at least one entry)
-- Returns {"<key>:<bytes>" for each entry, with an "r" behind it if the entry was redriven, joined by
-- commas, and all their messages, one after the other}.
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
local index, messages, room = {}, {}, tonumber(ARGV[3])
for at, entry in ipairs(found) do
  local message = entry[2][2]
  room = room - #message
  if room < 0 and at > 1 then
    break
  end
  index[at] = entry[1] .. ':' .. #message .. (entry[2][4] == 'redrive' and 'r' or '')
  messages[at] = message
end
return {table.concat(index, ','), table.concat(messages)}
