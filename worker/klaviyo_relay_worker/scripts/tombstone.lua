#!lua flags=allow-oom
-- Tombstone: what is known of a deletion, as a JSON object under the pseudonym of its identifier:
--   at        when the deletion was enqueued; what is not newer is forgotten
--   planted   when a planner first read it
--   awaits    lane -> token of the planner that was at it then; absent until somebody has looked
--   asked     when Klaviyo was asked, or 0
--   answered  when Klaviyo had answered, or 0
--   returned  when a newer command of the person was let through, or 0
-- All times are milliseconds since 1970; `at` and `returned` as commands tell it, the others by
-- Redis's clock.
--
-- KEYS: forgotten
-- ARGV: field, then one of
--   'plant', at             returns 1 if there is a new tombstone, 0 if there was one as new
--   'await', at, tokens     (a JSON object) returns 1, or 0 where that was done already
--   'ask', at               returns 1, or 0 where Klaviyo was asked and the person came back since
--   'answer', at            returns 1
--   'return', at            returns 1
-- Every operation but 'plant' and 'return' is for the deletion of that time, and does nothing
-- where a newer one has taken its place; 'ask' and 'answer' return 1 then, too.
local forgotten, field, operation, at = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local stored = redis.call('HGET', forgotten, field)
local stone = stored and cjson.decode(stored) or nil
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function write()
  redis.call('HSET', forgotten, field, cjson.encode(stone))
  return 1
end

if operation == 'plant' then
  if stone and stone.at >= at then
    return 0
  end
  stone = { at = at, planted = now, asked = 0, answered = 0, returned = 0 }
  return write()
elseif not stone then
  return 1
elseif operation == 'return' then
  stone.returned = math.max(stone.returned, at)
  return write()
elseif stone.at ~= at then
  return operation == 'await' and 0 or 1
elseif operation == 'await' then
  if stone.awaits then
    return 0
  end
  stone.awaits = cjson.decode(ARGV[4])
  return write()
elseif operation == 'ask' then
  if stone.asked > 0 and stone.returned > 0 then
    return 0
  end
  stone.asked = now
  return write()
elseif operation == 'answer' then
  stone.answered = now
  return write()
end
return redis.error_reply('unknown operation ' .. operation)
