"""An application that tracks all the time, whatever Redis does meanwhile."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

from klaviyo_relay import Producer
from sites import Site
from waiting import wait_until


class SteadyLoad:
    """Tracks an event every few milliseconds, from a thread.

    Args:
        site: with a sandbox that the events arrive at.
        every_seconds: between two events.
        more: arguments of each `track`.

    Attributes:
        tracked: how many events so far.
    """

    def __init__(self, site: Site, *, every_seconds: float = 0.01, **more: Any) -> None:
        self.site = site
        self.tracked = 0
        self._every, self._more = every_seconds, more
        self._producer = Producer(site.settings)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._track)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()
        self._producer.close()

    def end(self) -> None:
        """No more."""
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a call of track has not returned for 30 s"

    def _track(self) -> None:
        while not self._over.wait(self._every):
            person = f"p{self.tracked}@shop.io"
            self._producer.track("Placed Order", email=person, **self._more)
            self.tracked += 1

    def seconds_to_next_delivery(self, seconds: float = 60.0) -> float:
        """From now until more has arrived than has been tracked up to now."""
        before, began = self.tracked, time.monotonic()
        wait_until(lambda: self._arrived() > before, seconds, self.site.logs)
        return time.monotonic() - began

    def wait_for_all(self, seconds: float = 60.0) -> None:
        """All that was tracked has arrived, once."""
        self.end()
        wait_until(lambda: self._arrived() >= self.tracked, seconds, self.site.logs)
        self.site.wait_for_rest(seconds)
        assert self._arrived() == self.tracked

    def _arrived(self) -> int:
        return int(self.site.sandbox.summary()["events"])
