"""Following: events as they come, each once, for as long as somebody looks.

Klaviyo makes an event readable some time after it was sent, minutes at worst, and orders events by
their own times, to the second. So each look goes back by a window before the newest event, and what
was shown already is known by its id. An event that is older than the window when it becomes
readable, such as one of a back-fill, is not shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

from klaviyo_relay.errors import RedisUnavailableError, RelayError
from klaviyo_relay_worker.errors import RateLimitError, ServerError, TransportError
from klaviyo_relay_worker.klaviyo.events import Sort
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Event

Batch = list[Event]
_PASSING = (RateLimitError, RedisUnavailableError, ServerError, TransportError)
"""What will be over some time; a refusal will not."""


class Read(Protocol):
    """Reads the events to follow: `Events.all` of some profile or metric."""

    def __call__(self, *, since: datetime | None, sort: Sort) -> Pages[Event]:
        """Events at this time or later."""


class Follower:
    """Follows the events that `read` reads.

    Args:
        read: all of them, or those of a time.
        window: how far before the newest event to look again.
        interval: seconds from look to look.
        tell: called once with what stands in the way, when Klaviyo or Redis are away.
        sleep, now: to be replaced in tests.
    """

    def __init__(
        self,
        read: Read,
        *,
        window: timedelta,
        interval: float,
        tell: Callable[[RelayError], None],
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._read = read
        self._window = window
        self._interval = interval
        self._tell = tell
        self._sleep = sleep
        self._now = now
        self._has_looked = False
        self._newest: datetime | None = None
        self._seen: dict[str, datetime] = {}
        self._began = now()

    def batches(self, count: int) -> Iterator[Batch]:
        """The newest `count` events, oldest first, then all that come; never ends."""
        look = self._newest_ones(count)
        is_away = False
        while True:
            wait = self._interval
            try:
                yield from look
            except _PASSING as error:
                wait = max(wait, getattr(error, "retry_after", 0.0))
                if not is_away:
                    self._tell(error)
                is_away = True
            else:
                is_away = False
            self._sleep(wait)
            look = self._new_ones() if self._has_looked else self._newest_ones(count)

    def _newest_ones(self, count: int) -> Iterator[Batch]:
        """Also learns what else is in the window, so that it will not be taken for new."""
        found: Batch = []
        for event in self._read(since=None, sort="desc"):
            if len(found) < count:
                found.append(event)
            elif self._time_of(event) < self._since():
                break
            self._note(event)
        self._has_looked = True
        yield found[::-1]

    def _new_ones(self) -> Iterator[Batch]:
        since = self._since()
        self._seen = {one: at for one, at in self._seen.items() if at >= since}
        for page in self._read(since=since, sort="asc").pages():
            found = [event for event in page if event.id not in self._seen]
            for event in found:
                self._note(event)
            yield found

    def _since(self) -> datetime:
        # An event may say that it will happen next year; those of today are not to be missed then.
        newest = min(self._newest or self._began, self._now())
        return (newest - self._window).replace(microsecond=0)

    def _note(self, event: Event) -> None:
        at = self._time_of(event)
        self._seen[event.id] = at
        self._newest = max(self._newest or at, at)

    def _time_of(self, event: Event) -> datetime:
        return event.datetime or self._now()
