"""The watchdog: says loudly when deliveries stand still, and lets the supervisor begin anew.

It bites when a lane has work that this process could deliver, and nothing has moved in it for
`stall_seconds`, although doorbell and standby had their chance; when the doorbell's thread or the
heartbeat of the leases is dead or stuck; or when one turn at a lane does not end. A Redis that is
away, a snooze, a pause, a lane in another planner's hands and an account without a key here are no
stalls. It never says more of a lane than its name.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.complaints import Complaints
from klaviyo_relay.keys import Keys, split
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.lookout import Lookout
from klaviyo_relay_worker.occupancy import OccupancyReporter
from klaviyo_relay_worker.planner import Planner

logger = logging.getLogger("klaviyo_relay_worker.watchdog")

# EX_SOFTWARE of sysexits.h: an internal error.
EXIT_CODE = 70
LOOKS_PER_STALL = 12
# What is in flight may still end well; who waits for more than this waits for what hangs.
DRAIN_SECONDS = 30.0
# A turn ends after 20 s and the conversations under way then; the longest takes a bad batch of
# 1,000 apart with a slow Klaviyo.
TURN_SECONDS_MOST = 900.0


class Watchdog:
    """A thread in each worker process.

    Args:
        redis: a client of its own.
        keys: key names.
        doorbell: watched.
        planner: gives this process's planner, watched too.
        stall_seconds: how long nothing may move.
        end: begins a graceful end of the process with EXIT_CODE; None: only say what is wrong.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        doorbell: Doorbell,
        planner: Callable[[], Planner],
        *,
        stall_seconds: float,
        end: Callable[[], None] | None,
    ) -> None:
        self._lookout = Lookout(redis, keys)
        self._occupancy = OccupancyReporter(redis, keys)
        self._doorbell = doorbell
        self._planner = planner
        self._stall_seconds = stall_seconds
        self._end = end
        # Lanes that want a planner, with what they looked like and since when.
        self._still: dict[str, tuple[Any, float]] = {}
        self._redis_answers_since: float | None = None
        self._complaints = Complaints()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="klaviyo-relay-watchdog", daemon=True
        )

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """The process is about to end: what stands still now has been told to."""
        self._stop.set()

    def look(self) -> str | None:
        """What is wrong, or None."""
        now = time.monotonic()
        try:
            stalled = self._stalled_lanes(now)
            self._occupancy.look()
        except RedisError:
            self._still.clear()
            self._redis_answers_since = None
            return None
        if self._redis_answers_since is None:
            self._redis_answers_since = now
        return next(self._faults(stalled, now), None)

    def _faults(self, stalled: list[str], now: float) -> Iterator[str]:
        if stalled:
            yield (
                f"nothing has moved for {self._stall_seconds:.0f} s in {', '.join(stalled)},"
                " which this process could deliver"
            )
        has_had_time = now - (self._redis_answers_since or now) >= self._stall_seconds
        if not self._doorbell.is_alive:
            yield "the doorbell's thread is dead"
        elif has_had_time and now - self._doorbell.seen_at >= self._stall_seconds:
            yield "the doorbell's thread is stuck although Redis answers"
        leases = self._planner().leases
        if has_had_time and leases.silent_seconds >= self._stall_seconds:
            yield "nothing renews the leases although Redis answers"
        if leases.longest_held_seconds >= TURN_SECONDS_MOST:
            yield f"a turn at a lane has not ended within {TURN_SECONDS_MOST:.0f} s"

    def _stalled_lanes(self, now: float) -> list[str]:
        found = []
        for name in self._lookout.names():
            view = self._lookout.look(name)
            progress, since = self._still.get(name, (None, now))
            if not view.wants_now:
                self._still.pop(name, None)
            elif progress != view.progress:
                self._still[name] = (view.progress, now)
            elif now - since >= self._stall_seconds and self._planner().may_deliver(*split(name)):
                found.append(name)
        return found

    def _run(self) -> None:
        while not self._stop.wait(self._stall_seconds / LOOKS_PER_STALL):
            try:
                what = self.look()
            except Exception:
                # Nobody foresaw it. Better to watch on than to bite for that.
                logger.exception("the watchdog could not look")
                continue
            if what is not None:
                self._bite(what)

    def _bite(self, what: str) -> None:
        if self._complaints.is_due():
            logger.critical("deliveries stand still: %s. Threads: %s", what, _threads())
        if self._end is not None:
            logger.critical("this process ends with exit code %d, to be started anew", EXIT_CODE)
            self._end()
            time.sleep(DRAIN_SECONDS)
            logger.critical("it did not end within %.0f s, and is ended now", DRAIN_SECONDS)
            logging.shutdown()
            os._exit(EXIT_CODE)


def _threads() -> str:
    """Each thread's name and where it is: places in the program, never what it works on."""
    frames = sys._current_frames()  # noqa: SLF001 - the documented way to ask where threads are
    places = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        place = (
            f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
            if frame
            else "?"
        )
        places.append(f"{thread.name} at {place}")
    return "; ".join(sorted(places))
