"""A TCP address that leads elsewhere: cut, led to another port, or made to lose answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from ports import HOST

NOBODY_LISTENS = 1
_PIECE_BYTES = 65_536


class _Pair:
    """A client's connection and the one that was made for it, each read by a thread of its own.

    A socket is closed only once both threads are through with it: its number goes to the next
    connection at once, and a thread that still used it would end or read that one.
    """

    def __init__(self, inner: socket.socket, outer: socket.socket) -> None:
        self.ends = (inner, outer)
        self.readers = 2

    def shut_down(self) -> None:
        """Nothing goes through any more; both threads notice."""
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self.ends:
            end.close()


class Forwarder:
    """An address of this machine that leads to a port, which may be changed.

    Attributes:
        port: its own.
    """

    def __init__(self, target: int, port: int) -> None:
        self.port = port
        self._target: int | None = target
        # Of the target and of the pairs: a connection is made and noted, or ended, as a whole.
        self._guard = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._swallows = False
        self._swallowed = threading.Event()
        self._listener = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, like: str | None = None) -> str:
        """The URL of this address, with the password of `like`."""
        if like is None:
            return f"redis://{HOST}:{self.port}/0"
        return f"{like.rpartition(':')[0]}:{self.port}/0"

    def lead_to(self, target: int | None) -> None:
        """Connections go there from now on; those that are open end. None: they are refused."""
        with self._guard:
            self._target = target
            self._end_all()

    def lead_new_to(self, target: int) -> None:
        """Connections go there from now on; those that are open stay where they are."""
        with self._guard:
            self._target = target

    def drop(self) -> None:
        """End all connections."""
        with self._guard:
            self._end_all()

    def swallow_answers(self) -> None:
        """Until `drop`, what comes back goes nowhere."""
        self._swallowed.clear()
        self._swallows = True

    def wait_for_swallowed(self, seconds: float = 30.0) -> None:
        """Until an answer was lost."""
        assert self._swallowed.wait(seconds), "no answer came to be lost"

    def close(self) -> None:
        """Listen no more, and end all connections."""
        with suppress(OSError):  # wakes the thread that accepts, where the system does that
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def _end_all(self) -> None:
        self._swallows = False
        for pair in self._pairs:
            pair.shut_down()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            with self._guard:
                try:
                    outer = socket.create_connection((HOST, self._target or NOBODY_LISTENS), 5.0)
                except OSError:
                    inner.close()
                    continue
                outer.settimeout(None)
                pair = _Pair(inner, outer)
                self._pairs.add(pair)
            for is_answer in (False, True):
                what = {"is_answer": is_answer}
                threading.Thread(target=self._pump, args=(pair,), kwargs=what, daemon=True).start()

    def _pump(self, pair: _Pair, *, is_answer: bool) -> None:
        source, sink = reversed(pair.ends) if is_answer else pair.ends
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if is_answer and self._swallows:
                    self._swallowed.set()
                else:
                    sink.sendall(piece)
        with self._guard:
            pair.shut_down()
            pair.readers -= 1
            if not pair.readers:
                pair.close()
                self._pairs.discard(pair)
