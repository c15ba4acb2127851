#!lua flags=no-writes
-- Find: a page of a stream, looked through for one command.
--
-- KEYS: a lane's stream or its journal
-- ARGV: 'command' or 'record', the command's id or its digest, from which key, up to which key, most
--       entries, most bytes (but at least one small page)
-- Returns {key of the last entry if there may be more behind it, or '', number of entries up to there,
-- what was found}. Of a command that is its first entry alone, as {key, message}; of a journal each
-- record, as {key, what happened, note, number of commands}.
-- include klaviyo_relay/ids
local PAGE = 50
local DIGITS = 16
local what, wanted, from, upto = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local most, room = tonumber(ARGV[5]), tonumber(ARGV[6])

-- Digests stand one after the other: what spans two of them is none.
local function holds(digests)
  local at = string.find(digests, wanted, 1, true)
  while at and (at - 1) % DIGITS ~= 0 do
    at = string.find(digests, wanted, at + 1, true)
  end
  return at ~= nil
end

local looks = {}

function looks.command(key, fields)
  room = room - #fields[2]
  return id_of(fields[2]) == wanted and {key, fields[2]} or nil
end

function looks.record(key, fields)
  local digests = fields[6]
  room = room - #digests
  return holds(digests) and {key, fields[2], fields[4], #digests / DIGITS} or nil
end

local seen, found = 0, {}
while true do
  local page = redis.call('XRANGE', KEYS[1], from, upto, 'COUNT', PAGE)
  for _, entry in ipairs(page) do
    seen = seen + 1
    local hit = looks[what](entry[1], entry[2])
    if hit then
      found[#found + 1] = hit
      if what == 'command' then
        return {'', seen, found}
      end
    end
  end
  if #page < PAGE then
    return {'', seen, found}
  end
  local last = page[#page][1]
  if seen >= most or room <= 0 then
    return {last, seen, found}
  end
  from = '(' .. last
end
