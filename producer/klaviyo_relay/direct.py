"""Shipping in the call itself: for a disk that takes no more, and for nothing else.

A call may stand in a request handler, so it waits for half a second at the most, however many wait
and whatever hangs: a name that is not resolved, a connection that is not made, an answer that does
not come. So one thread ships for all, in the order in which they came, and a caller whose time is
over leaves. What nobody waits for any more when its turn comes is not shipped. (A process that can
have no more threads ships in the call; then each answer may take so long.)

The numbers of this source live in memory only, so an answer that is lost stays unknown: the caller
is told that the command was not accepted, though Redis may have taken it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence

from klaviyo_relay.complaints import Complaints, saying
from klaviyo_relay.errors import BackpressureError, RedisUnavailableError, RelayError, SpoolError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay.sources import DIRECT, unique

logger = logging.getLogger("klaviyo_relay.direct")

# A call may take this long at the most, since it may stand in a request handler.
ANSWER_SECONDS = 0.5

Rows = Sequence[tuple[str, int, bytes]]


class _Call:
    """Rows, and somebody who waits for them.

    Attributes:
        rows: what to ship.
        is_left: nobody waits any more.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.is_left = False
        # As in the shipper: a signal handler may come in the middle of it.
        self._answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def answer(self, error: Exception | None) -> None:
        """Tell what came of it."""
        self._answers.put(error)

    def wait(self) -> None:
        """Until it is told; raises what was told."""
        try:
            error = self._answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            error = _unavailable(f"no answer within {ANSWER_SECONDS} s")
        finally:
            self.is_left = True
        if error is not None:
            raise error


class DirectShipment:
    """Puts commands into Redis while the caller waits."""

    def __init__(self, settings: Settings) -> None:
        # Here, since no call has time for it.
        import_whole("klaviyo_relay.redis_imports")
        self._settings = settings
        self._source = unique(DIRECT)
        self._number = 0
        # Of the number and the entrance.
        self._guard = threading.Lock()
        self._entrance: LaneEntrance | None = None
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._complaints = Complaints()

    def ship(self, rows: Rows, reason: SpoolError) -> None:
        """Ship rows of (lane, milliseconds, message), in order.

        Args:
            rows: what to ship.
            reason: why the spool does not take them, for the log.

        Raises:
            RedisUnavailableError: Redis is away or full, or has not answered in time.
        """
        self._complain(reason)
        call = _Call(rows)
        if self._has_thread():
            self._calls.put(call)
        else:
            self._work_off(call)
        call.wait()

    def close(self) -> None:
        """End the thread, which waits for nobody."""
        self._is_over = True
        self._calls.put(None)

    def _has_thread(self) -> bool:
        """Whether there is a thread, or will be; it is started if one can be had."""
        if self._is_over:
            return False
        # Whoever comes in the middle, be it a signal handler, is served by the one that is started.
        if self._thread is not None or not self._starting.acquire(blocking=False):
            return True
        try:
            thread = threading.Thread(target=self._run, name="klaviyo-relay-direct", daemon=True)
            thread.start()
            self._thread = thread
        except RuntimeError:  # no more threads, or the process ends
            return False
        finally:
            self._starting.release()
        return True

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            if not call.is_left:
                self._work_off(call)
        if self._entrance is not None:
            self._entrance.close()

    def _work_off(self, call: _Call) -> None:
        """Ship for a caller; not even a fault of ours may end the thread."""
        from redis.exceptions import RedisError

        # Without a thread, a signal handler may come in the middle of the call that it interrupts.
        if not self._guard.acquire(timeout=ANSWER_SECONDS):
            return call.answer(_unavailable("another call waits for its answer"))
        try:
            self._ship(call)
        except (RedisError, RelayError, OSError) as error:
            call.answer(_unavailable(error))
        except Exception as error:  # noqa: BLE001 - it is raised at the caller
            call.answer(error)
        else:
            call.answer(None)
        finally:
            self._guard.release()

    def _ship(self, call: _Call) -> None:
        for lane, _, message in call.rows:
            entrance = self._ready()
            # Redis may have come back just when the caller's time was over.
            if call.is_left:
                return
            self._number += 1
            entrance.ship(lane, self._source, [(self._number, message)])

    def _ready(self) -> LaneEntrance:
        if self._entrance is None:
            redis = connect(self._settings.redis_url, answer_seconds=ANSWER_SECONDS)
            self._entrance = LaneEntrance(redis, self._settings.keys, self._settings.lane_max_bytes)
        if self._entrance.survey().is_full:
            raise BackpressureError
        return self._entrance

    def _complain(self, reason: SpoolError) -> None:
        if self._complaints.is_due():
            with saying():
                logger.warning(
                    "%s; each call waits until Redis has its command, and is refused if that does"
                    " not take it within %s s",
                    reason,
                    ANSWER_SECONDS,
                )


def _unavailable(why: object) -> RedisUnavailableError:
    return RedisUnavailableError(f"Redis did not take it either: {why}")
