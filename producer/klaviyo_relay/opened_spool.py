"""A spool that is open: this process's own file, and the thread that ships it, if it can have one.

All of it may be called by a signal handler that runs in the middle of any of it, and by threads.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from klaviyo_relay.complaints import Complaints
from klaviyo_relay.settings import Settings
from klaviyo_relay.shipper import Flushed, Shipper
from klaviyo_relay.spool import OwnSpool

logger = logging.getLogger("klaviyo_relay.spooling")

# How long `end` waits for the thread.
END_SECONDS = 0.5


class OpenedSpool:
    """The file, and its thread once `start` could start it.

    Args:
        settings: the producer's.
        on_damage: see `Shipper`.

    Attributes:
        spool: the file.
        shipper: the thread; None as long as none could be started.
        pid: the process that opened it.
    """

    def __init__(self, settings: Settings, on_damage: Callable[[OwnSpool], None]) -> None:
        self._settings = settings
        self._on_damage = on_damage
        self.spool: OwnSpool = OwnSpool.create(
            settings.spool_directory, settings.digest, durability=settings.durability
        )
        self.shipper: Shipper | None = None
        self.pid: int = self.spool.pid
        self._starting = threading.Lock()
        self._is_over = False
        self._flushed = Flushed(0)
        self._complaints = Complaints()

    def start(self) -> None:
        """Start the thread, unless there is one, or none can be had now.

        A process that may have no more threads, or is about to end, stores commands all the same.
        """
        # Whoever comes in the middle goes on: what is stored by now, the thread sees at its start.
        if not self._is_without_thread() or not self._starting.acquire(blocking=False):
            return
        try:
            if self._is_without_thread():  # still, now that nobody else can start one
                self.shipper = Shipper(self.spool, self._settings, self._on_damage)
        except RuntimeError as error:
            self._complain(error)
        finally:
            self._starting.release()
        if self._is_over:  # meanwhile, and then the file was only retired
            self.end()

    def flush(self, timeout: float) -> Flushed:
        """Wait until Redis has every row of the file, or until `timeout` seconds passed."""
        self.start()
        if self.shipper is None:
            return Flushed(self.spool.last_row)
        try:
            self._flushed = self.shipper.flush(timeout)
        except sqlite3.ProgrammingError:  # another call has flushed and closed the file meanwhile
            return self._flushed
        return self._flushed

    def give_up(self) -> None:
        """End the thread without waiting for it."""
        self._is_over = True
        if self.shipper is not None:
            self.shipper.give_up()

    def end(self) -> None:
        """End the thread, and let others ship what is left."""
        self._is_over = True
        has_ended = False
        try:
            # Kept, so that nobody starts a thread any more.
            if self._starting.acquire(blocking=False):
                has_ended = self.shipper is None or self.shipper.stop(END_SECONDS)
        finally:
            if has_ended:
                self.spool.close()
            else:
                # The thread waits for Redis, or just begins; to others the file is as a dead
                # process's.
                self.spool.retire()

    def _is_without_thread(self) -> bool:
        return self.shipper is None and not self._is_over

    def _complain(self, error: RuntimeError) -> None:
        if self._complaints.is_due():
            logger.warning(
                "cannot start the thread that ships the spool: %s; %d commands wait in it",
                error,
                self.spool.last_row,
            )
