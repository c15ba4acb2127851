-- Ids: what other scripts, which include this one, know of a command by its id.
--
-- The sum of the fingerprints of all commands that came in, less that of all that are settled, is
-- that of all that are stored: whatever their order, and no loss is hidden by a double count.
-- Lua's numbers are exact below 2^53, so two fingerprints of 52 bits are added before their sum is
-- taken modulo 2^52.
local FINGERPRINTS = 2 ^ 52
-- An id with escaped characters in it is no longer than this.
local LONGEST_ID = 4096

-- The id of a message: the first member of every envelope. What has none is known by its content.
local function id_of(message)
  local id = string.match(message, '^{"id":"([^"\\]*)"')
  if id then
    return id
  end
  local unescaped = string.gsub(string.sub(message, 1, LONGEST_ID), '\\.', '__')
  local last = string.match(unescaped, '^{"id":"[^"]*()"')
  if last then
    local is_text, decoded = pcall(cjson.decode, '[' .. string.sub(message, 7, last) .. ']')
    if is_text then
      return decoded[1]
    end
  end
  return redis.sha1hex(message)
end

-- 16 hexadecimal digits that stand for an id where many are kept.
local function digest_of(id)
  return string.sub(redis.sha1hex(id), 1, 16)
end

local function fingerprint_of(digest)
  return tonumber(string.sub(digest, 1, 13), 16)
end

local function sum_of(one, other)
  return (one + other) % FINGERPRINTS
end

-- Add fingerprints to a sum that a lane keeps in its counts.
local function add_to_sum(counts, field, fingerprints)
  if fingerprints ~= 0 then
    local sum = sum_of(tonumber(redis.call('HGET', counts, field) or '0'), fingerprints)
    redis.call('HSET', counts, field, string.format('%.0f', sum))
  end
end
