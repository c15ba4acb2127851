"""Shipping: one chunk is on its way into Redis while the next one is being made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from klaviyo_relay.batch import Entrance, Loading
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.load.errors import LoadError

Lanes = dict[str, list[tuple[int, bytes]]]


class Shipping:
    """Ships chunks in a thread of its own, one at a time.

    While the thread waits for Redis it leaves the interpreter to the thread that makes commands.
    """

    def __init__(
        self,
        entrance: Entrance,
        source: str,
        settings: Settings,
        *,
        timeout: float | None,
        marks: dict[str, int],
        tell: Callable[[str], None],
    ) -> None:
        """Make ready to ship.

        Args:
            source: name of the load in Redis.
            timeout: most seconds to wait in one go for a Redis that is away or full.
            marks: lane -> what an earlier run left behind.
            tell: is told why it waits, from the thread.
        """
        self._tell = tell
        self._is_given_up = False
        self._loading = Loading(
            entrance, source, timeout, settings, marks=marks, tell=self._before_waiting
        )
        self._thread = ThreadPoolExecutor(1, "klaviyo-relay-load")
        self._under_way: Future[None] | None = None

    @property
    def added(self) -> int:
        """Commands that were new to Redis, as of the last `wait`."""
        return self._loading.added

    def marks(self) -> dict[str, int]:
        """Lane -> the last row that Redis has, as of the last `wait`."""
        return dict(self._loading.marks)

    def ship(self, lanes: Lanes) -> None:
        """Send a chunk on its way; the one before must have been waited for."""
        self._under_way = self._thread.submit(self._ship, lanes)

    def _ship(self, lanes: Lanes) -> None:
        for lane, numbered in lanes.items():
            self._loading.ship(lane, numbered)

    def wait(self) -> None:
        """Until Redis has the chunk that is on its way.

        Raises:
            RedisUnavailableError, BackpressureError: after the time-out, or if Redis came back
                older than it was.
        """
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None

    def _before_waiting(self, reason: str) -> None:
        if self._is_given_up:
            raise LoadError("given up")
        self._tell(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the thread; a chunk that waits for Redis is given up."""
        self._is_given_up = True
        self._thread.shutdown()
