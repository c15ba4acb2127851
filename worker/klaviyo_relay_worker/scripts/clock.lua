#!lua flags=allow-oom
-- Clock: the latest withdrawals of consent, never set back.
--
-- A field is the pseudonym of an address; its value a JSON object of places and milliseconds since
-- 1970: "" everywhere, "id:" or "name:" and the list's, "suppress", and "sent" when we last told Klaviyo.
--
-- KEYS: clock
-- ARGV: field, place, milliseconds, repeated
-- Returns how many were newer than what was known.
local clock = KEYS[1]
local newer = 0
for at = 1, #ARGV, 3 do
  local field, place, time = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local stored = redis.call('HGET', clock, field)
  local times = stored and cjson.decode(stored) or {}
  if time > (times[place] or 0) then
    times[place] = time
    redis.call('HSET', clock, field, cjson.encode(times))
    newer = newer + 1
  end
end
return newer
