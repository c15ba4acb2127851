"""Quota: our count of Klaviyo's rate limits, shared by all workers, in Redis's time.

Klaviyo counts all that use an account's private keys together, so our count alone is not enough: an
answer 429 that it did not foresee halves our share of the limit, which then grows again with time
(additive increase, multiplicative decrease). Klaviyo's answers also say what the limits are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.limits import RATE_LIMITS, RateLimit

# Klaviyo counts when a request arrives, we count when it leaves; the windows are this much longer
# than Klaviyo's, so that a delay on the way does not push two of ours into one window of theirs.
_SECOND_MS, _MINUTE_MS, _DAY_MS = 1_060, 60_300, 86_460_000
# What a low-priority lane leaves free for the live one.
_LEFT_FREE_BY_BULK = 0.03
# As in "75, 75;w=1, 750;w=60" (recorded answers, revision 2026-07-15); a day is 86,400.
_LIMIT = re.compile(r"(?<!\d)(\d{1,9})\s*;\s*w=(\d{1,6})")
_PERIODS = {1: "second", 60: "minute", 86_400: "day"}
_RESET_SECONDS_MOST = 60.0


class Quota:
    """Reserves requests for one Redis and all accounts in it.

    Args:
        limits: other limits than Klaviyo's published ones, by endpoint.
    """

    def __init__(
        self, redis: Redis, keys: Keys, limits: dict[str, RateLimit] | None = None
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._limits = RATE_LIMITS if limits is None else limits
        self._reserve: Any = redis.register_script(script_of("klaviyo_relay_worker", "quota"))
        self._throttle: Any = redis.register_script(script_of("klaviyo_relay_worker", "throttle"))
        self._note: Any = redis.register_script(_NOTE_LIMITS)
        self._block: Any = redis.register_script(_BLOCK)
        # The header that each endpoint's last answer had, so that the same one costs nothing.
        self._seen: dict[tuple[str, str], str] = {}

    def reserve(self, account: str, endpoint: str, *, is_bulk_lane: bool = False) -> float:
        """Reserve one request.

        Returns:
            0 if it may be sent now, else seconds to wait before asking again.
        """
        limit = self._limits[endpoint]
        keys = self._keys.quota(account, endpoint)
        arguments: list[Any] = ["bulk", 1 - _LEFT_FREE_BY_BULK] if is_bulk_lane else ["live", 1]
        arguments += [limit.second, 1, _SECOND_MS, limit.minute, 60, _MINUTE_MS]
        if limit.day:
            arguments += [limit.day, 86_400, _DAY_MS]
        wait: int = self._reserve(keys=[keys.times, keys.state], args=arguments)
        return wait / 1000

    def throttled(self, account: str, endpoint: str, seconds: float) -> float:
        """Klaviyo said 429: nothing goes to this endpoint before `seconds` have passed.

        Returns:
            Our share of the limit from now on, up to 1.
        """
        state = self._keys.quota(account, endpoint).state
        return float(self._throttle(keys=[state], args=[max(1, int(seconds * 1000))]))

    def learn(self, account: str, endpoint: str, headers: Mapping[str, str]) -> None:
        """Take over what an answer says of the endpoint's limits.

        Args:
            account, endpoint: whose.
            headers: of the answer, with lower-case names.
        """
        said = headers.get("ratelimit-limit")
        if said and self._seen.get((account, endpoint)) != said:
            self._note_limits(account, endpoint, said)
        if headers.get("ratelimit-remaining") == "0":
            reset = headers.get("ratelimit-reset", "")
            seconds = min(float(reset), _RESET_SECONDS_MOST) if reset.isdecimal() else 0.0
            if seconds:
                self._hold(account, endpoint, seconds)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _note_limits(self, account: str, endpoint: str, said: str) -> None:
        limits = limits_said(said)
        ours = self._limits[endpoint]
        new = {n: most for n, most in limits.items() if most != getattr(ours, _PERIODS[n])}
        text = "".join(f"{most};{period}," for period, most in sorted(new.items()))
        self._note(keys=[self._keys.quota(account, endpoint).state], args=["limits", text])
        self._seen[account, endpoint] = said

    def _hold(self, account: str, endpoint: str, seconds: float) -> None:
        """The window is used up by whomever: wait for the next one."""
        state = self._keys.quota(account, endpoint).state
        self._block(keys=[state], args=[int(seconds * 1000)])


# A full Redis refuses a plain HSET.
_NOTE_LIMITS = """#!lua flags=allow-oom
if ARGV[2] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
"""
# Never shortens what a Retry-After has blocked, unless by a clock that was set back since.
_BLOCK = """#!lua flags=allow-oom
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'blocked', 'blocked_at')
local till, is_old = now + ARGV[1], tonumber(found[2] or '0') > now + 1000
if is_old or till > tonumber(found[1] or '0') then
  redis.call('HSET', KEYS[1], 'blocked', string.format('%.0f', till), 'blocked_at', now)
end
"""


def limits_said(text: str) -> dict[int, int]:
    """Requests by period (seconds) in a RateLimit-Limit header; what is no limit is passed over."""
    found = ((int(period), int(most)) for most, period in _LIMIT.findall(text))
    return {period: most for period, most in found if period in _PERIODS and most > 0}
