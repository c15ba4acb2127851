"""Quota use: which share of Klaviyo's limits we have used in the last minute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.limits import RATE_LIMITS

PERIOD_SECONDS = 60


class QuotaUse:
    """Reads what all workers and readers of one Redis have reserved."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._script: Any = redis.register_script(script_of("klaviyo_relay_worker", "quota_use"))

    def shares(self, accounts: Iterable[str]) -> dict[tuple[str, str], float]:
        """Share of the minute's limit by account and endpoint, 0 to 1; every known endpoint.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        names = [(account, endpoint) for account in accounts for endpoint in RATE_LIMITS]
        pipeline = self._redis.pipeline(transaction=False)
        for account, endpoint in names:
            keys = self._keys.quota(account, endpoint)
            self._script(
                keys=[keys.times, keys.state],
                args=[PERIOD_SECONDS, RATE_LIMITS[endpoint].minute],
                client=pipeline,
            )
        found = pipeline.execute()
        return {name: used / most for name, (used, most) in zip(names, found, strict=True)}
