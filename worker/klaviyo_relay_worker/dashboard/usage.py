"""Usage: how much of Klaviyo's rate limits is used, as our own count in Redis has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.limits import RATE_LIMITS, RateLimit
from klaviyo_relay_worker.quota import limits_said

_MINUTE, _DAY = 60, 86_400
# As in quota.lua: our share is back at the whole limit after this at most.
_GROWS_BACK_MS = 150_000


class Usage(Struct, frozen=True):
    """One endpoint of one account.

    Attributes:
        endpoint: method and path.
        used: requests within the last minute; within the last day where `period` is a day.
        limit: Klaviyo's, for that period: what it said last, else what it publishes.
        period: minute or day.
        share: how much of the limit we take, up to 1; less if others use the same account.
        blocked_seconds: nothing is sent for so long, as Klaviyo asked for in an answer.
    """

    endpoint: str
    used: int
    limit: int
    period: str
    share: float
    blocked_seconds: float


class Usages:
    """Reads the quota of one Redis, and reserves nothing."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._script: Any = redis.register_script(
            script_of("klaviyo_relay_worker.dashboard", "usage")
        )

    def of(self, account: str) -> list[Usage]:
        """The endpoints that were used of late, or are blocked."""
        pipeline = self._redis.pipeline(transaction=False)
        for endpoint in RATE_LIMITS:
            keys = self._keys.quota(account, endpoint)
            windows = [_MINUTE * 1000, _DAY * 1000]
            self._script(keys=[keys.times, keys.state], args=windows, client=pipeline)
        answers = zip(RATE_LIMITS.items(), pipeline.execute(), strict=True)
        found = [one for (name, limit), raw in answers for one in _usages(name, limit, raw)]
        return [one for one in found if one.used or one.blocked_seconds]


def _usages(endpoint: str, published: RateLimit, raw: list[Any]) -> Iterable[Usage]:
    now, said, share, share_at, blocked, in_minute, in_day = raw
    limits = {_MINUTE: published.minute, _DAY: published.day} | limits_said(
        said.decode().replace(";", ";w=")
    )
    grown = min(1.0, float(share) + (now - float(share_at)) / _GROWS_BACK_MS)
    wait = max(0.0, float(blocked) - now) / 1000
    yield Usage(endpoint, in_minute, limits[_MINUTE], "minute", grown, wait)
    if limits[_DAY]:
        yield Usage(endpoint, in_day, limits[_DAY], "day", grown, wait)
