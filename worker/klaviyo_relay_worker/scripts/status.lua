#!lua flags=no-writes
-- Status: one lane at one instant, so that the numbers add up.
--
-- KEYS: stream, counts, parked, dead, state, lease, following, rows
-- ARGV: most commands, and most bytes of the stream, of which the ids are looked at
-- Returns {backlog, counts, parked, dead, oldest entry id, state, whether a planner is at it,
--          following, sum of the fingerprints of all stored ids; '' if there are too many}.
-- include klaviyo_relay/ids
local stream, counts, parked, dead, following, rows =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[7], KEYS[8]
local PAGE = 500

-- Rows stand in their jobs' records: without one they are lost.
local function rows_of_jobs()
  local found, number = {}, 0
  for _, job in ipairs(redis.call('HKEYS', rows)) do
    if redis.call('HEXISTS', following, job) == 1 then
      found[#found + 1] = job
      number = number + redis.call('HSTRLEN', rows, job) / 16
    end
  end
  return found, number
end

local function sum_of_stream()
  local sum, after = 0, '-'
  while true do
    local page = redis.call('XRANGE', stream, after, '+', 'COUNT', PAGE)
    for _, entry in ipairs(page) do
      sum = sum_of(sum, fingerprint_of(digest_of(id_of(entry[2][2]))))
      after = '(' .. entry[1]
    end
    if #page < PAGE then
      return sum
    end
  end
end

local function sum_of_names(key)
  local sum = 0
  for _, id in ipairs(redis.call('HKEYS', key)) do
    sum = sum_of(sum, fingerprint_of(digest_of(id)))
  end
  return sum
end

local function sum_of_rows(jobs)
  local sum = 0
  for _, job in ipairs(jobs) do
    local digests = redis.call('HGET', rows, job)
    for at = 1, #digests, 16 do
      sum = sum_of(sum, fingerprint_of(string.sub(digests, at, at + 15)))
    end
  end
  return sum
end

local jobs, followed = rows_of_jobs()
local backlog = redis.call('XLEN', stream)
local waiting, given_up = redis.call('HLEN', parked), redis.call('HLEN', dead)
local bytes = tonumber(redis.call('HGET', counts, 'bytes') or '0')
local fingerprints = ''
if backlog + waiting + given_up + followed <= tonumber(ARGV[1]) and bytes <= tonumber(ARGV[2]) then
  local sum = sum_of(sum_of_stream(), sum_of_names(parked))
  sum = sum_of(sum_of(sum, sum_of_names(dead)), sum_of_rows(jobs))
  fingerprints = string.format('%.0f', sum)
end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
return {
  backlog,
  redis.call('HGETALL', counts),
  waiting,
  given_up,
  first[1] and first[1][1] or '',
  redis.call('HGETALL', KEYS[5]),
  redis.call('EXISTS', KEYS[6]),
  followed,
  fingerprints,
}
