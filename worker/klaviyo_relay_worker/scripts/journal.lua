-- Journal: what other scripts, which include this one, write down for `explain`.
--
-- One record for each operation: `w` what happened, `n` a note about it as JSON, and `i` the digests
-- of the commands, one after the other. The oldest records go when it has become too large.
local RECORD_BYTES = 32
local TRIMMED_AT_ONCE = 1000

local function size_of(what, note, digests)
  return RECORD_BYTES + #what + #note + #digests
end

local function write_journal(journal, counts, most, what, note, digests)
  if most == 0 or #digests == 0 then
    return
  end
  redis.call('XADD', journal, '*', 'w', what, 'n', note, 'i', digests)
  local bytes = redis.call('HINCRBY', counts, 'journal', size_of(what, note, digests))
  local trimmed = 0
  while bytes > most and trimmed < TRIMMED_AT_ONCE do
    local oldest = redis.call('XRANGE', journal, '-', '+', 'COUNT', 1)[1]
    if not oldest then
      break
    end
    local fields = oldest[2]
    redis.call('XDEL', journal, oldest[1])
    local size = size_of(fields[2], fields[4], fields[6])
    bytes = redis.call('HINCRBY', counts, 'journal', -size)
    trimmed = trimmed + 1
  end
end
