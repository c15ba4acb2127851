"""The spool of a process, as its producer uses it: from the first row, across forks, to the end.

What the disk does not take is shipped in the call. What is damaged is left to others. At the end of
the process the rows that Redis has not got yet have a moment; what is left then is on the disk.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet

from klaviyo_relay import sinks
from klaviyo_relay.errors import (
    RedisUnavailableError,
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
)
from klaviyo_relay.first_imports import import_whole

if TYPE_CHECKING:
    from klaviyo_relay.batch import Entrance
    from klaviyo_relay.direct import DirectShipment
    from klaviyo_relay.opened_spool import OpenedSpool
    from klaviyo_relay.settings import Settings
    from klaviyo_relay.shipper import Flushed
    from klaviyo_relay.spool import OwnSpool

_living: WeakSet[Spooling] = WeakSet()


class Spooling:
    """Stores rows in this process's spool and lets a background thread ship them (a `Sink`).

    Safe to use from threads, from signal handlers, and across fork: each process gets a spool of
    its own.

    Args:
        settings: asked whenever something is opened; what it raises is raised there.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        # Reentrant: a signal handler may enqueue, or close, while its thread opens a spool.
        self._opening = threading.RLock()
        self._opened: OpenedSpool | None = None
        self._direct: DirectShipment | None = None
        self._is_sync = False
        _living.add(self)

    def store(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        """Commit rows of (lane, milliseconds, message), all or none.

        Raises:
            SpoolFullError: neither the disk nor Redis took them.
            ConfigurationError: of the first rows: the settings cannot work.
        """
        opened = self._opened
        try:
            if opened is None or opened.pid != os.getpid():
                opened = self._open()
            opened.spool.append(rows, full=full)
        except SpoolError as error:
            if not self._store_anew(rows, opened, error, full=full):
                return
            opened = self._opened
        if opened is not None:  # it was closed meanwhile: others ship the file
            shipper = opened.shipper
            if shipper is None:
                opened.start()
            else:
                shipper.notify()
        if self._is_sync:
            self.flush(self._settings().sync_seconds)

    def entrance(self) -> Entrance:
        """A new connection to the lanes, for a batch load."""
        import_whole("klaviyo_relay.batch")
        from klaviyo_relay.batch import entrance_of

        return entrance_of(self._settings())

    def flush(self, timeout: float) -> Flushed:
        """Wait until Redis has all that was stored, or until `timeout` seconds passed."""
        opened = self._current()
        return _nothing_left() if opened is None else opened.flush(timeout)

    def created_list(self, account: str, command_id: str, timeout: float) -> str | None:
        """See `Producer.created_list`."""
        import_whole("klaviyo_relay.created_lists")
        from klaviyo_relay import created_lists  # with redis, which not every process needs

        return created_lists.wait_for(self._settings(), account, command_id, timeout)

    def close(self, timeout: float | None = None) -> Flushed:
        """Flush, end the thread and close the spool; the next row opens a new one.

        Args:
            timeout: seconds to wait. Defaults to the setting exit_seconds.
        """
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()
        opened = self._current()
        if opened is None:
            return _nothing_left()
        try:
            return opened.flush(self._patience(timeout))
        finally:
            # A signal handler, or another thread, may close it meanwhile: one of them ends it.
            if self._leave(opened):
                opened.end()
            if self._opened is None:
                atexit.unregister(self.close)

    def _patience(self, timeout: float | None) -> float:
        if sinks.diversion is not None:  # a test, which waits for no Redis
            return 0.0
        return self._settings().exit_seconds if timeout is None else timeout

    def _store_anew(
        self,
        rows: Sequence[tuple[str, int, bytes]],
        opened: OpenedSpool | None,
        error: SpoolError,
        *,
        full: bool,
    ) -> bool:
        """After a file took no rows: into a new one, if it is damaged, else or then into Redis.

        Returns:
            Whether they are in the spool.
        """
        if isinstance(error, SpoolDamagedError) and opened is not None:
            self._leave_damaged(opened.spool)
            try:
                self._open().spool.append(rows, full=full)
            except SpoolError as again:
                error = again
            else:
                return True
        self._ship_at_once(rows, error)
        return False

    def _ship_at_once(self, rows: Sequence[tuple[str, int, bytes]], error: SpoolError) -> None:
        """The disk takes no more: ship in the call, which waits for half a second at the most.

        Raises:
            SpoolFullError: Redis did not take it either; the command is not accepted.
        """
        try:
            (self._direct or self._begin_direct()).ship(rows, error)
        except RedisUnavailableError as unavailable:
            raise SpoolFullError(f"{error}; {unavailable}") from error

    def _begin_direct(self) -> DirectShipment:
        import_whole("klaviyo_relay.direct")
        from klaviyo_relay.direct import DirectShipment

        with self._opening:  # one for all threads; and for a signal handler that comes in here
            made = DirectShipment(self._settings())
            self._direct = self._direct or made
            return self._direct

    def _open(self) -> OpenedSpool:
        with self._opening:
            opened = self._current() or self._begin()
        opened.start()
        return opened

    def _begin(self) -> OpenedSpool:
        # Here, not above: importing the package stays cheap for a process that never enqueues.
        import_whole("klaviyo_relay.opened_spool")
        from klaviyo_relay.opened_spool import OpenedSpool

        settings = self._settings()
        self._is_sync = settings.ship == "sync"
        opened = OpenedSpool(settings, self._leave_damaged)
        by_signal = self._opened
        if by_signal is not None and by_signal.pid == opened.pid:  # in the middle of all that
            opened.end()
            return by_signal
        self._opened = opened
        atexit.register(self.close)
        return opened

    def _current(self) -> OpenedSpool | None:
        opened = self._opened
        return opened if opened is not None and opened.pid == os.getpid() else None

    def _leave(self, opened: OpenedSpool) -> bool:
        """The next row opens a new one; returns whether this one was still in use."""
        with self._opening:
            if self._opened is not opened:
                return False
            self._opened = None
            return True

    def _leave_damaged(self, spool: OwnSpool) -> None:
        """The file is damaged, or spent and removed: go on with a new one.

        Its shipper saves what it can.
        """
        opened = self._opened
        if opened is not None and opened.spool is spool and self._leave(opened):
            opened.give_up()
        spool.retire()

    def let_go(self) -> None:
        """In a forked child: leave the parent's spool to the parent; the next row opens one."""
        self._opened = None
        self._opening = threading.RLock()
        self._direct = None


def _nothing_left() -> Flushed:
    import_whole("klaviyo_relay.shipper")
    from klaviyo_relay.shipper import Flushed

    return Flushed(0)


def _let_all_go() -> None:
    for spooling in list(_living):
        spooling.let_go()


os.register_at_fork(after_in_child=_let_all_go)
