#!lua flags=allow-oom
-- Settle: write down what became of commands, and take them from where they stood.
--
-- Only the holder of the lease may do it. The destination is written before the source is deleted,
-- and only if the source is there: a call whose answer was lost may be made again, and what somebody
-- else has settled meanwhile does not come back.
-- It runs over Redis's memory limit (allow-oom): settling is what makes room again.
--
-- KEYS: stream, counts, lease, parked, due, dead, following, rows, journal
-- ARGV: lease token, most bytes of the journal (0: none), then operations, each with a note for the
--       journal:
--   'delivered', note, n, then n keys
--   'dropped', rule, note, n, then n keys
--   'dead', key, command id, letter, note
--   'parked', key, command id, record, due (ms), note
--   'following', job id, record without rows, due (ms), note, n, then n keys, each with its row
--   'postponed', name of what is due, due (ms); what is there no more is due no more
--   'followed', job id      (before its rows are settled by their keys 'f:...')
-- A key is an id in the stream, 'p:<command id>' of a parked one, or 'f:<command id>' of a row in a
-- job, which stands in the job's record; the record goes with its last row.
-- Returns the number of operations, or -1 if the lease is lost.
-- include klaviyo_relay/ids
-- include klaviyo_relay_worker/journal
local stream, counts, lease, parked, due, dead, following, rows, journal =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
if redis.call('GET', lease) ~= ARGV[1] then
  return -1
end

local at = 3
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local accepted, settled, freed = 0, 0, 0

-- The job whose rows are being settled, and how often each digest is among those that are left.
local job, left
local function open_job(id)
  job, left = id, {}
  for digest in string.gmatch(redis.call('HGET', rows, job) or '', '%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x') do
    left[digest] = (left[digest] or 0) + 1
  end
end

local function close_job()
  local remaining = {}
  for digest, times in pairs(left) do
    remaining[#remaining + 1] = string.rep(digest, times)
  end
  local digests = table.concat(remaining)
  if digests ~= '' then
    redis.call('HSET', rows, job, digests)
    return
  end
  redis.call('HDEL', following, job)
  redis.call('HDEL', rows, job)
  redis.call('ZREM', due, 'job:' .. job)
end

-- What stands at a key: its digest and the bytes of its message in the stream; nil if nothing does.
local function find(key)
  local kind = string.sub(key, 1, 2)
  if kind == 'p:' then
    local id = string.sub(key, 3)
    return redis.call('HEXISTS', parked, id) == 1 and digest_of(id) or nil, 0
  elseif kind == 'f:' then
    local digest = digest_of(string.sub(key, 3))
    return left and left[digest] and digest or nil, 0
  end
  local entry = redis.call('XRANGE', stream, key, key)[1]
  if entry then
    return digest_of(id_of(entry[2][2])), #entry[2][2]
  end
end

local function remove(key, digest, bytes)
  local kind = string.sub(key, 1, 2)
  if kind == 'p:' then
    local id = string.sub(key, 3)
    redis.call('ZREM', due, id)
    redis.call('HDEL', parked, id)
  elseif kind == 'f:' then
    left[digest] = left[digest] > 1 and left[digest] - 1 or nil
  else
    redis.call('XDEL', stream, key)
    freed = freed + bytes
  end
end

-- Commands that end in the same way share a record of the journal.
local records, numbers = {}, {}
local function write_down(what, note, digest)
  local name = what .. note
  if not numbers[name] then
    records[#records + 1] = {what, note, {}}
    numbers[name] = #records
  end
  local digests = records[numbers[name]][3]
  digests[#digests + 1] = digest
end

local function settle(key, what, note, digest, bytes)
  settled = sum_of(settled, fingerprint_of(digest))
  write_down(what, note, digest)
  remove(key, digest, bytes)
end

local function settle_all(what, note, n)
  local done = 0
  for _ = 1, n do
    local key = take()
    local digest, bytes = find(key)
    if digest then
      settle(key, what, note, digest, bytes)
      done = done + 1
    end
  end
  return done
end

-- A command that came in twice has one place among the dead letters and the parked ones.
local function drop_duplicate(key, digest, bytes)
  settle(key, 'dropped', '{"rule":"duplicate"}', digest, bytes)
  redis.call('HINCRBY', counts, 'dropped:duplicate', 1)
end

-- What could not be read becomes a dead letter under another name.
local function rename(digest, name)
  if digest ~= name then
    accepted = sum_of(accepted, fingerprint_of(name) - fingerprint_of(digest))
  end
end

local function bury(key, id, letter, note)
  local digest, bytes = find(key)
  if not digest then
    return
  elseif redis.call('HSETNX', dead, id, letter) == 0 then
    return drop_duplicate(key, digest, bytes)
  end
  rename(digest, digest_of(id))
  write_down('dead', note, digest)
  remove(key, digest, bytes)
end

local function park(key, id, record, when, note)
  local digest, bytes = find(key)
  if not digest then
    return
  end
  local is_parked = redis.call('HEXISTS', parked, id) == 1
  if is_parked and key ~= 'p:' .. id then
    return drop_duplicate(key, digest, bytes)
  end
  redis.call('HSET', parked, id, record)
  redis.call('ZADD', due, when, id)
  write_down('parked', note, digest)
  if not is_parked then
    remove(key, digest, bytes)
  end
end

local function follow(id, head, when, note, n)
  local found, bodies, digests = {}, {}, {}
  for _ = 1, n do
    local key, body = take(), take()
    local digest, bytes = find(key)
    if digest then
      found[#found + 1] = {key, digest, bytes}
      bodies[#bodies + 1] = body
      digests[#digests + 1] = digest
      write_down('following', note, digest)
    end
  end
  if #found == 0 then
    return
  end
  -- The rows are the last member of the record: '..."rows":[]}'.
  local record = redis.call('HGET', following, id)
  local before = record and string.sub(record, 1, -3) .. ',' or string.sub(head, 1, -3)
  redis.call('HSET', following, id, before .. table.concat(bodies, ',') .. ']}')
  redis.call('HSET', rows, id, (redis.call('HGET', rows, id) or '') .. table.concat(digests))
  redis.call('ZADD', due, when, 'job:' .. id)
  for _, one in ipairs(found) do
    remove(one[1], one[2], one[3])
  end
end

local operations = {
  delivered = function()
    local note, n = take(), take()
    redis.call('HINCRBY', counts, 'delivered', settle_all('delivered', note, n))
  end,
  dropped = function()
    local rule, note, n = take(), take(), take()
    redis.call('HINCRBY', counts, 'dropped:' .. rule, settle_all('dropped', note, n))
  end,
  dead = function()
    bury(take(), take(), take(), take())
  end,
  parked = function()
    park(take(), take(), take(), take(), take())
  end,
  following = function()
    follow(take(), take(), take(), take(), take())
  end,
  postponed = function()
    local name, when = take(), take()
    local id = string.match(name, '^job:(.*)$')
    if redis.call('HEXISTS', id and following or parked, id or name) == 1 then
      redis.call('ZADD', due, when, name)
    else
      redis.call('ZREM', due, name)
    end
  end,
  followed = function()
    open_job(take())
  end,
}

local done = 0
while at <= #ARGV do
  operations[take()]()
  done = done + 1
end
if job then
  close_job()
end
if freed > 0 then
  redis.call('HINCRBY', counts, 'bytes', -freed)
end
add_to_sum(counts, 'accepted_ids', accepted)
add_to_sum(counts, 'settled_ids', settled)
redis.call('HINCRBY', counts, 'revision', 1)
for _, record in ipairs(records) do
  write_journal(journal, counts, tonumber(ARGV[2]), record[1], record[2], table.concat(record[3]))
end
return done
