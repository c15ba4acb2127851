"""Housekeeping: what grows for ever unless somebody sweeps it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys, split
from klaviyo_relay.sources import DAY_SECONDS, kept_seconds

HOUR_SECONDS = 3600.0
# An unsubscribe waits for half an hour after the last join, or as long as the lists lanes take.
JOIN_SECONDS = 2 * DAY_SECONDS
_SCAN_COUNT = 500


def prune_marks(redis: Redis, keys: Keys, lanes: Iterable[str]) -> int:
    """Forget the marks of sources that have been silent for long; returns how many.

    A source that speaks again after that begins at nothing: what it still has is shipped again.
    """
    pruned = 0
    clock: Any = redis.time()
    for name in lanes:
        marks = keys.lane(*split(name)).marks
        old = [
            source
            for source, mark in redis.hscan_iter(marks, count=_SCAN_COUNT)
            if clock[0] - int(mark.partition(b"@")[2]) > kept_seconds(source.decode())
        ]
        if old:
            pruned += int(redis.hdel(marks, *old))
    return pruned


def prune_joins(redis: Redis, keys: Keys, lanes: Iterable[str]) -> int:
    """Forget joins that no unsubscribe waits for any more, after a crash; returns how many."""
    pruned = 0
    clock: Any = redis.time()
    for account, lane in map(split, lanes):
        key = keys.joins(account)
        if lane != "consent":
            continue
        old = [
            field
            for field, at in redis.hscan_iter(key, count=_SCAN_COUNT)
            if clock[0] - int(at) / 1000 > JOIN_SECONDS
        ]
        if old:
            pruned += int(redis.hdel(key, *old))
    return pruned
