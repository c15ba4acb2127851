"""The spool files of other processes, dead or alive: opened, counted and removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from klaviyo_relay.spool import LOCK_SUFFIX, SpoolFile, SpoolLock, files_of

if TYPE_CHECKING:
    from klaviyo_relay.marks import Marks


class FoundSpool:
    """A spool file of another process, which is dead (its lock is free) or alive.

    Attributes:
        spool: the file.
        lock: its lock, if the process is dead; released by whoever took it, see `locked`.

    Raises:
        FileNotFoundError: it is gone: shipped and removed, or set aside, by somebody else. Or its
            process is just making it.
        sqlite3.DatabaseError: the file is damaged; see `salvage`.
    """

    def __init__(self, path: Path, lock: SpoolLock | None) -> None:
        self.lock = lock
        self.spool: SpoolFile = SpoolFile(path, is_ours=lock is not None)
        try:
            is_made = self.spool.is_made()
            self.spool.last_row = self.spool.newest()[0] if is_made else 0
        except sqlite3.Error:
            self.spool.close()
            raise
        if not is_made:
            self.spool.close()
            raise FileNotFoundError(f"the spool file {path} is not made yet")

    @property
    def is_dead(self) -> bool:
        """Whether the owner is gone, so that the file may be removed once it is shipped."""
        return self.lock is not None

    def unshipped(self, marks: Marks | None) -> int:
        """How many rows Redis has not got; without marks, all of them."""
        source = self.spool.source
        return sum(
            self.spool.count(lane, marks.mark(lane, source) if marks else 0, newest)
            for lane, newest in self.spool.lanes().items()
        )

    def remove(self) -> None:
        """Delete the files of a dead process. The lock goes last."""
        self.spool.close()
        for path in files_of(self.spool.path):
            path.unlink(missing_ok=True)
        if self.lock is not None:
            self.lock.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the file where it is."""
        self.spool.close()


@contextmanager
def locked(path: Path) -> Iterator[SpoolLock | None]:
    """Hold the lock of another process's spool file while the block runs.

    Whoever finds the file damaged needs the lock that it was opened under: between two locks
    somebody else could set the file aside.

    Yields:
        The lock; None while the owner lives, or somebody else looks at the file.
    """
    lock = SpoolLock.take(path.with_suffix(LOCK_SUFFIX))
    if lock is None:
        yield None
        return
    try:
        # Files go before their lock, so this one was made just now, for a file that is gone.
        if not path.exists():
            lock.path.unlink(missing_ok=True)
        yield lock
    finally:
        lock.release()


@contextmanager
def opened(path: Path) -> Iterator[FoundSpool]:
    """Open another process's spool file while the block runs.

    Raises:
        FileNotFoundError: the file is gone.
        sqlite3.DatabaseError: the file is damaged; see `salvage`.
    """
    with locked(path) as lock, closing(FoundSpool(path, lock)) as found:
        yield found
