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
from klaviyo_relay.redis_clients import node_of, nodes_of

logger = logging.getLogger("klaviyo_relay_worker.occupancy")

REPORT_EVERY_SECONDS = 60.0
_MEGABYTE = 1_000_000


class Occupancy(Struct, frozen=True):
    """Redis's memory, in bytes; in a cluster that of the fullest primary.

    Attributes:
        used: by everything.
        most: maxmemory; 0 if there is no limit.
        ours: estimated share of the lanes. Redis itself and Celery's messages count as foreign.
    """

    used: int
    most: int
    ours: int

    @property
    def share(self) -> float:
        """Of what may be used; 0 if there is no limit."""
        return self.used / self.most if self.most else 0.0

    @property
    def is_above_watermark(self) -> bool:
        """Whether producers have stopped shipping."""
        return self.share > WATERMARK

    def __str__(self) -> str:
        """For people."""
        foreign = max(0, self.used - self.ours)
        return (
            f"Redis is full: {self.used / _MEGABYTE:,.1f} MB are {self.share:.0%} of maxmemory,"
            f" {self.ours / _MEGABYTE:,.1f} MB of them klaviyo-relay's lanes and"
            f" {foreign / _MEGABYTE:,.1f} MB foreign keys and overhead"
        )


def occupancy(redis: Redis, keys: Keys) -> Occupancy:
    """Ask Redis; about a millisecond for each lane, as Redis estimates from samples.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    names: Any = redis.smembers(keys.register)
    lanes = [keys.lane(*split(name.decode())) for name in names]
    node, memory = fullest(redis)
    pipeline = node.pipeline(transaction=False)
    for lane in lanes:
        if node_of(redis, lane.stream) is node:
            for key in astuple(lane)[1:]:
                pipeline.memory_usage(key)
    return replace(memory, ours=sum(size or 0 for size in pipeline.execute()))


def fullest(redis: Redis) -> tuple[Redis, Occupancy]:
    """The server with the lanes, or a cluster's fullest primary; of its memory nothing is `ours`.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    found = [(node, _memory(node)) for node in nodes_of(redis)]
    return max(found, key=lambda pair: pair[1].share)


def _memory(node: Redis) -> Occupancy:
    info: Any = node.info("memory")
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
        if fullest(self._redis)[1].is_above_watermark:
            self._report_at = time.monotonic() + REPORT_EVERY_SECONDS
            logger.error(
                "%s. Producers keep their commands in the spool; deliveries go on."
                " Make room, or raise maxmemory",
                occupancy(self._redis, self._keys),
            )
