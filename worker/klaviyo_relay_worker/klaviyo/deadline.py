"""A total deadline for a request.

The time-outs of `requests` hold for each read: a server that drips a byte a second is waited for
without end. Here one thread watches all requests under way and shuts the socket of one that is
late, which wakes its reader at once.
"""

from __future__ import annotations

import heapq
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_under_way = threading.local()


class Deadline:
    """One request's deadline.

    Attributes:
        has_passed: the watch has shut the socket.
    """

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds
        self.has_passed = False
        self._socket: socket.socket | None = None
        self._guard = threading.Lock()
        self.is_over = False

    def watch(self, connected: socket.socket) -> None:
        """From now on this socket belongs to the request."""
        with self._guard:
            self._socket = connected
            if self.has_passed:
                _shut(connected)

    def end(self) -> None:
        """The request is over: its socket may serve another one."""
        with self._guard:
            self.is_over = True
            self._socket = None

    def expire(self) -> None:
        """Shut the socket, unless the request is over."""
        with self._guard:
            if not self.is_over:
                self.has_passed = True
                if self._socket is not None:
                    _shut(self._socket)


def current() -> Deadline | None:
    """The deadline of the request that this thread is making."""
    return getattr(_under_way, "deadline", None)


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Within this block the thread's request ends after `seconds`, whatever the server does."""
    mine = Deadline(seconds)
    _under_way.deadline = mine
    _watch.add(mine)
    try:
        yield mine
    finally:
        mine.end()
        _under_way.deadline = None


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster


class _Watch:
    """The thread; started by the first request."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Deadline]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, new: Deadline) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (new.at, next(self._order), new))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="klaviyo-relay-deadlines", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._drop_finished()
                if not self._waiting:
                    self._changed.wait()
                    continue
                left = self._waiting[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                late = heapq.heappop(self._waiting)[2]
            late.expire()

    def _drop_finished(self) -> None:
        while self._waiting and self._waiting[0][2].is_over:
            heapq.heappop(self._waiting)


_watch = _Watch()
