"""Quota: our count of Klaviyo's rate limits, shared by all workers, in Redis's time."""

from __future__ import annotations

from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import script_of
from klaviyo_relay_worker.klaviyo.limits import RATE_LIMITS, RateLimit

# Klaviyo counts when a request arrives, we count when it leaves; the windows are this much longer
# than Klaviyo's, so that a delay on the way does not push two of ours into one window of theirs.
_SECOND_MS, _MINUTE_MS, _DAY_MS = 1_060, 60_300, 86_460_000
# What a low-priority lane leaves free for the live one.
_LEFT_FREE_BY_BULK = 0.04


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

    def reserve(self, account: str, endpoint: str, *, is_bulk_lane: bool = False) -> float:
        """Reserve one request.

        Returns:
            0 if it may be sent now, else seconds to wait before asking again.
        """
        limit = self._limits[endpoint]
        key = self._keys.quota(account, endpoint)
        share = 1 - _LEFT_FREE_BY_BULK if is_bulk_lane else 1.0
        arguments = [max(1, int(limit.second * share)), _SECOND_MS]
        arguments += [max(1, int(limit.minute * share)), _MINUTE_MS]
        if limit.day:
            arguments += [limit.day, _DAY_MS]
        wait: int = self._reserve(keys=[key, f"{key}:blocked"], args=arguments)
        return wait / 1000

    def block(self, account: str, endpoint: str, seconds: float) -> None:
        """Klaviyo said 429: nothing goes to this endpoint before `seconds` have passed."""
        key = f"{self._keys.quota(account, endpoint)}:blocked"
        self._redis.set(key, b"1", px=max(1, int(seconds * 1000)))
