"""Occupancy: how full Redis is, and how much of that is ours.

Above the watermark producers keep their commands in the spool. Our own backlog goes away by being
delivered; other people's keys do not, so they are named.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple, replace
from redis import Redis

from klaviyo_relay.keys import Keys, split
from klaviyo_relay.lane_entrance import WATERMARK

logger = logging.getLogger("klaviyo_relay_worker.occupancy")

REPORT_EVERY_SECONDS = 60.0
_MEGABYTE = 1_000_000


class Occupancy(Struct, frozen=True):
    """Redis's memory, in bytes.

    Attributes:
        used: by everything.
        most: maxmemory; 0 if there is no limit.
        ours: estimated share of the lanes. Redis itself and Celery's messages count as foreign.
    """

    used: int
    most: int
    ours: int

    @property
    def is_above_watermark(self) -> bool:
        """Whether producers have stopped shipping."""
        return bool(self.most) and self.used > WATERMARK * self.most

    def __str__(self) -> str:
        """For people."""
        share, foreign = self.used / self.most if self.most else 0.0, max(0, self.used - self.ours)
        return (
            f"Redis is full: {self.used / _MEGABYTE:,.1f} MB are {share:.0%} of maxmemory,"
            f" {self.ours / _MEGABYTE:,.1f} MB of them klaviyo-relay's lanes and"
            f" {foreign / _MEGABYTE:,.1f} MB foreign keys and overhead"
        )


def occupancy(redis: Redis, keys: Keys) -> Occupancy:
    """Ask Redis; about a millisecond for each lane, as Redis estimates from samples.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    names: Any = redis.smembers(keys.register)
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        for key in astuple(keys.lane(*split(name.decode())))[1:]:
            pipeline.memory_usage(key)
    ours = sum(size or 0 for size in pipeline.execute())
    return replace(_memory(redis), ours=ours)


def _memory(redis: Redis) -> Occupancy:
    info: Any = redis.info("memory")
    return Occupancy(int(info["used_memory"]), int(info.get("maxmemory", 0)), 0)


class OccupancyReporter:
    """Says it once a minute while Redis is full."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._report_at = 0.0

    def look(self) -> None:
        """Report if Redis is full.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        if time.monotonic() < self._report_at:
            return
        if _memory(self._redis).is_above_watermark:
            self._report_at = time.monotonic() + REPORT_EVERY_SECONDS
            logger.error(
                "%s. Producers keep their commands in the spool; deliveries go on."
                " Make room, or raise maxmemory",
                occupancy(self._redis, self._keys),
            )
