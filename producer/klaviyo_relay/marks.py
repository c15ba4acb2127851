"""The marks of the lanes, read: how far each lane has taken a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from klaviyo_relay.keys import Keys, split

if TYPE_CHECKING:
    from redis import Redis


class Mark(NamedTuple):
    """How far a lane has taken a source.

    Attributes:
        number: the last one taken.
        at: when, in seconds since 1970 by Redis's clock.
    """

    number: int
    at: int


class Marks:
    """Reads the marks that the shipping script writes; writes nothing.

    Raises:
        redis.RedisError: from every method: Redis does not answer.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def mark(self, lane: str, source: str) -> int:
        """The last number of `source` that a lane has, or 0."""
        return self.dated_mark(lane, source).number

    def dated_mark(self, lane: str, source: str) -> Mark:
        """The last number of `source` that a lane has, and since when; zeros if it has none."""
        found: Any = self._redis.hget(self._keys.lane(*split(lane)).marks, source)
        number, _, at = (found or b"0@0").partition(b"@")
        return Mark(int(number), int(at))
