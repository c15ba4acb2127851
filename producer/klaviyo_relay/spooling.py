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

if TYPE_CHECKING:
    from klaviyo_relay.batch import Entrance
    from klaviyo_relay.direct import DirectShipment
    from klaviyo_relay.settings import Settings
    from klaviyo_relay.shipper import Flushed, Shipper
    from klaviyo_relay.spool import OwnSpool

# How long `close` waits for the thread beyond what its flush may take.
CLOSE_SECONDS = 0.5
_living: WeakSet[Spooling] = WeakSet()


class Spooling:
    """Stores rows in this process's spool and lets a background thread ship them (a `Sink`).

    Safe to use from threads and across fork: each process gets a spool of its own.

    Args:
        settings: asked whenever something is opened; what it raises is raised there.

    Attributes:
        spool: this process's own, while one is open.
        shipper: the thread that ships it.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self.spool: OwnSpool | None = None
        self.shipper: Shipper | None = None
        self._direct: DirectShipment | None = None
        self._is_sync = False
        self._pid = 0
        _living.add(self)

    def store(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        """Commit rows of (lane, milliseconds, message), all or none.

        Raises:
            SpoolFullError: neither the disk nor Redis took them.
            ConfigurationError: of the first rows: the settings cannot work.
        """
        spool = self.spool
        try:
            if spool is None or self._pid != os.getpid():
                spool = self._open()
            spool.append(rows, full=full)
        except SpoolError as error:
            if not self._store_anew(rows, spool, error, full=full):
                return
        shipper = self.shipper
        if shipper is not None:  # it was closed meanwhile: others ship the file
            shipper.notify()
        if self._is_sync:
            self.flush(self._settings().sync_seconds)

    def entrance(self) -> Entrance:
        """A new connection to the lanes, for a batch load."""
        from klaviyo_relay.batch import entrance_of

        return entrance_of(self._settings())

    def flush(self, timeout: float) -> Flushed:
        """Wait until Redis has all that was stored, or until `timeout` seconds passed."""
        from klaviyo_relay.shipper import Flushed

        if self.shipper is None or self._pid != os.getpid():
            return Flushed(0)
        return self.shipper.flush(timeout)

    def created_list(self, account: str, command_id: str, timeout: float) -> str | None:
        """See `Producer.created_list`."""
        from klaviyo_relay import created_lists  # with redis, which not every process needs

        return created_lists.wait_for(self._settings(), account, command_id, timeout)

    def close(self, timeout: float | None = None) -> Flushed:
        """Flush, end the thread and close the spool; the next row opens a new one.

        Args:
            timeout: seconds to wait. Defaults to the setting exit_seconds.
        """
        from klaviyo_relay.shipper import Flushed

        with self._opening:
            self._direct = None
            if self.shipper is None or self.spool is None or self._pid != os.getpid():
                return Flushed(0)
            flushed = self.shipper.flush(self._patience(timeout))
            if self.shipper.stop(CLOSE_SECONDS):
                self.spool.close()
            else:
                # The thread still waits for Redis; to others the file counts as a dead process's.
                self.spool.retire()
            self.spool = self.shipper = None
            atexit.unregister(self.close)
            return flushed

    def _patience(self, timeout: float | None) -> float:
        if sinks.diversion is not None:  # a test, which waits for no Redis
            return 0.0
        return self._settings().exit_seconds if timeout is None else timeout

    def _store_anew(
        self,
        rows: Sequence[tuple[str, int, bytes]],
        spool: OwnSpool | None,
        error: SpoolError,
        *,
        full: bool,
    ) -> bool:
        """After a file took no rows: into a new one, if it is damaged, else or then into Redis.

        Returns:
            Whether they are in the spool.
        """
        if isinstance(error, SpoolDamagedError) and spool is not None:
            self._leave_damaged(spool)
            try:
                self._open().append(rows, full=full)
            except SpoolError as again:
                error = again
            else:
                return True
        self._ship_at_once(rows, error)
        return False

    def _ship_at_once(self, rows: Sequence[tuple[str, int, bytes]], error: SpoolError) -> None:
        """The disk takes no more: ship in the call, with a short limit.

        Raises:
            SpoolFullError: Redis did not take it either; the command is not accepted.
        """
        direct = self._direct
        if direct is None:
            from klaviyo_relay.direct import DirectShipment

            self._direct = direct = DirectShipment(self._settings())
        try:
            direct.ship(rows)
        except RedisUnavailableError as unavailable:
            raise SpoolFullError(f"{error}; {unavailable}") from error

    def _open(self) -> OwnSpool:
        # Here, not above: importing the package stays cheap for a process that never enqueues.
        from klaviyo_relay.shipper import Shipper
        from klaviyo_relay.spool import OwnSpool

        with self._opening:
            if self.spool is not None and self._pid == os.getpid():
                return self.spool
            settings = self._settings()
            spool = OwnSpool.create(
                settings.spool_directory, settings.digest, durability=settings.durability
            )
            self.shipper = Shipper(spool, settings, self._leave_damaged)
            self._pid = os.getpid()
            self.spool = spool
            self._is_sync = settings.ship == "sync"
            atexit.register(self.close)
            return spool

    def _leave_damaged(self, spool: OwnSpool) -> None:
        """The file is damaged, or spent and removed: go on with a new one.

        Its shipper saves what it can.
        """
        with self._opening:
            if self.spool is spool and self.shipper is not None:
                self.shipper.give_up()
                self.spool = self.shipper = None
        spool.retire()

    def let_go(self) -> None:
        """In a forked child: leave the parent's spool to the parent; the next row opens one."""
        inherited, self.spool, self.shipper = self.spool, None, None
        self._opening = threading.Lock()
        self._direct = None
        if inherited is not None:
            inherited.lock.release()


def _let_all_go() -> None:
    for spooling in list(_living):
        spooling.let_go()


os.register_at_fork(after_in_child=_let_all_go)
