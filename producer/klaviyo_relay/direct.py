"""Shipping in the call itself: for a disk that takes no more, and for nothing else.

The numbers of this source live in memory only, so an answer that is lost stays unknown: the caller
is told that the command was not accepted, though Redis may have taken it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from klaviyo_relay.errors import BackpressureError, RedisUnavailableError, RelayError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.sources import DIRECT, unique

if TYPE_CHECKING:
    from klaviyo_relay.lane_entrance import LaneEntrance
    from klaviyo_relay.settings import Settings

# A call may take this long at the most, since it may stand in a request handler.
ANSWER_SECONDS = 0.5


class DirectShipment:
    """Puts commands into Redis while the caller waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = unique(DIRECT)
        self._number = 0
        self._guard = threading.Lock()
        self._entrance: LaneEntrance | None = None

    def ship(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Ship rows of (lane, milliseconds, message), in order.

        Raises:
            RedisUnavailableError: Redis is away or full.
        """
        import_whole("redis.exceptions")
        from redis.exceptions import RedisError

        with self._guard:
            try:
                for lane, _, message in rows:
                    self._number += 1
                    self._ready().ship(lane, self._source, [(self._number, message)])
            except (RedisError, RelayError, OSError) as error:
                raise RedisUnavailableError(f"Redis did not take it either: {error}") from error

    def _ready(self) -> LaneEntrance:
        if self._entrance is None:
            import_whole("klaviyo_relay.lane_entrance")
            from klaviyo_relay.lane_entrance import LaneEntrance
            from klaviyo_relay.redis_clients import connect

            redis = connect(self._settings.redis_url, answer_seconds=ANSWER_SECONDS)
            self._entrance = LaneEntrance(redis, self._settings.keys, self._settings.lane_max_bytes)
        if self._entrance.survey().is_full:
            raise BackpressureError
        return self._entrance
