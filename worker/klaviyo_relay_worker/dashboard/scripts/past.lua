#!lua flags=no-writes
-- Past: how many commands a lane's journal says were delivered, by the minute.
--
-- One page, newest first, so that no call keeps Redis long.
--
-- KEYS: journal
-- ARGV: newest id to look at (with a bracket: not itself), oldest id, how many records
-- Returns {id of the oldest record read, or '', minute, commands, minute, commands, ...}; a minute
-- is counted from 1970.
local page = redis.call('XREVRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local minutes, order = {}, {}
for _, record in ipairs(page) do
  local fields = record[2]
  if fields[2] == 'delivered' then
    local minute = math.floor(tonumber(string.match(record[1], '^%d+')) / 60000)
    if not minutes[minute] then
      order[#order + 1] = minute
    end
    -- A digest has 16 characters.
    minutes[minute] = (minutes[minute] or 0) + #fields[6] / 16
  end
end
local found = {#page > 0 and page[#page][1] or ''}
for _, minute in ipairs(order) do
  found[#found + 1] = minute
  found[#found + 1] = minutes[minute]
end
return found
