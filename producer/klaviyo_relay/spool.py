"""The spool: commands on this machine's disk, from the call until Redis has them.

One SQLite file in WAL mode a process; only that process appends to it. A committed insert survives
the death of the process at any instruction. Beside `X.spool` stands `X.lock`, which the process
holds by flock as long as it lives: whoever can take it knows that the owner is dead, and may ship
the rest and remove the files.

Four traps that shape this file:
- A forked child inherits SQLite's connections and its belief that it holds their locks. To close
  one there, or to open such a file anew, could destroy the parent's. So a child keeps what it
  inherited unclosed for ever, never touches those files, and opens a spool of its own.
- POSIX locks die when *any* descriptor of the file is closed in the process, so nothing but SQLite
  opens an SQLite file here.
- Row numbers must never be used twice, not even after all rows were deleted, because Redis keeps
  the last row shipped as a mark. The owner therefore counts in memory; SQLite does not.
- A disk may give back less than it took. What can still be read of a damaged file is shipped.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote_from_bytes

from klaviyo_relay.errors import SpoolDamagedError, SpoolError, SpoolFullError
from klaviyo_relay.forking import let_forks_wait_for
from klaviyo_relay.sources import unique

SPOOL_SUFFIX = ".spool"
LOCK_SUFFIX = ".lock"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS rows"
    " (row INTEGER PRIMARY KEY, lane TEXT NOT NULL, at INTEGER NOT NULL, message BLOB NOT NULL)"
)
_INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?)"
_READ = "SELECT row, lane, message FROM rows WHERE row > ? ORDER BY row LIMIT ?"
# Each commit writes whole pages to the log; small ones make it shorter at the same speed.
_PAGE_BYTES = 2048
# The shipper's own connection checkpoints; a commit in the application's thread never does.
_WAL_LIMIT_BYTES = 16_000_000
BUSY_SECONDS = 5.0


# A stored command: its number in the file, its lane as `account:lane`, and its envelope.
Row = tuple[int, str, bytes]


# Every spool file that this process has open, and those that it inherited open from its parent.
_open_files: set[SpoolFile] = set()
_inherited: set[Path] = set()
# Every lock that this process holds.
_held_locks: set[SpoolLock] = set()
# Held by whoever is inside of SQLite, except for appends, which have a lock for each file. A child
# that is forked while another thread is inside of SQLite would inherit its allocator locked, for
# ever; so a fork waits for all of these locks.
reading = threading.RLock()


def _locks_at_fork() -> Iterator[threading.RLock]:
    if _open_files:
        with suppress(ImportError):  # the child says so, when `_keep_inherited` needs it
            import ctypes  # noqa: F401 - another thread of ours may not be at it during the fork
    yield reading
    yield from [spool.append_lock for spool in _open_files]


def _keep_inherited() -> None:
    """In a forked child: hold on to the parent's connections, so that nothing ever closes them.

    Its locks on the other hand are the parent's alone: they must go when the parent does.
    """
    for lock in list(_held_locks):
        lock.release()
    import ctypes

    for spool in _open_files:
        _inherited.add(spool.path)
        for connection in spool.connections:
            # A reference that is never given back outlives even the interpreter's end.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
    _open_files.clear()


let_forks_wait_for(_locks_at_fork)
os.register_at_fork(after_in_child=_keep_inherited)


class SpoolFile:
    """One spool file.

    Attributes:
        source: name of the file towards Redis: marks are kept under it.
        path: the SQLite file.
        last_row: number of the newest row.
    """

    def __init__(self, path: Path, *, durability: str = "normal", is_ours: bool = True) -> None:
        """Open it.

        Args:
            path: where it is.
            durability: `full` syncs the disk at each append.
            is_ours: make it a spool if it is none yet. A process that only looks at another one's
                leaves that to the owner, who may be about to.
        """
        self.path = path
        self._is_ours = is_ours
        self.source: str = source_of(path)
        self.last_row: int = 0
        # Reentrant: a signal handler may enqueue in the middle of an append.
        self.append_lock: threading.RLock = threading.RLock()
        self._pinned: sqlite3.Cursor | None = None
        self._is_pinned = False
        self._is_retired = False
        synchronous = {"normal": "NORMAL", "full": "FULL"}[durability]
        self._usual_synchronous = f"PRAGMA synchronous={synchronous}"
        with reading:
            self._open()
            _open_files.add(self)

    def _open(self) -> None:
        self._writer = self._connect()
        self._reader = self._connect()
        # One cursor for all inserts: making one for each costs more than validating the command.
        self._insert = self._writer.cursor().execute

    def append(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool = False) -> None:
        """Commit rows of (lane, milliseconds, message), all or none.

        Args:
            rows: what to store.
            full: sync the disk before returning, whatever the file's durability.

        Raises:
            SpoolFullError: the disk is full or read-only; nothing was stored.
            SpoolDamagedError: the file is damaged, or was closed for that; nothing was stored.
        """
        with self.append_lock:
            try:
                self._check_is_ours()
                self._write(rows, full=full)
            except (sqlite3.OperationalError, sqlite3.IntegrityError):
                # The file was written by somebody else since, be it by a signal handler of ours.
                self._recover()
                self._write_again(rows, full=full)
            except sqlite3.InterfaceError as error:
                raise _reason(self.path, error) from error
            except sqlite3.Error as error:
                self._recover()
                raise _reason(self.path, error) from error
            except BaseException:
                # A signal handler may raise anywhere, even between the commit and our count.
                self._recover()
                raise

    def _write(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        if full:
            self._unpin()
            self._insert("PRAGMA synchronous=FULL")
        first = self.last_row + 1
        if len(rows) == 1:
            self._insert(_INSERT, (first, *rows[0]))
        else:
            self._insert("BEGIN IMMEDIATE")
            for number, row in enumerate(rows, first):
                self._insert(_INSERT, (number, *row))
            self._insert("COMMIT")
        self.last_row = max(self.last_row, first + len(rows) - 1)
        if full:
            self._insert(self._usual_synchronous)
            self._repin()

    def _check_is_ours(self) -> None:
        """Refuse an append to a file that others may remove, or from inside of another append."""
        if self._is_retired:
            raise sqlite3.InterfaceError("the file was given away")
        if self._writer.in_transaction:  # a signal handler enqueues in the middle of several rows
            raise sqlite3.InterfaceError("in the middle of another append")

    def _write_again(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        """Once more, from the file's newest state; what fails now is the disk's fault."""
        try:
            self._write(rows, full=full)
        except sqlite3.Error as error:
            self._recover()
            raise _reason(self.path, error) from error
        except BaseException:
            self._recover()
            raise

    def _recover(self) -> None:
        """After anything went wrong in a write: no transaction is left open, no number used twice.

        A commit that failed may have landed all the same.
        """
        self._unpin()
        try:
            if self._writer.in_transaction:
                self._insert("ROLLBACK")
            self._insert(self._usual_synchronous)
            newest = self._insert("SELECT max(row) FROM rows").fetchone()
            self.last_row = max(self.last_row, newest[0] or 0)
        except sqlite3.Error:
            return  # the disk answers nothing at all now; the next append finds out
        self._repin()

    def pin(self) -> None:
        """Keep a read under way on the writing connection, for a file that only we append to.

        SQLite then takes and drops two locks less for each commit, which is a third of its cost.
        What is committed is committed all the same: only the read goes on.
        """
        self._is_pinned = True
        with self.append_lock:
            self._repin()

    def _repin(self) -> None:
        if self._is_pinned and self._pinned is None:
            try:
                cursor = self._writer.cursor()
                cursor.execute("SELECT 1 FROM sqlite_schema UNION ALL SELECT 2").fetchone()
                self._pinned = cursor
            except sqlite3.Error:
                return  # slower, and as safe; the next append tries again

    def _unpin(self) -> None:
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            pinned.close()

    def read(self, after: int, limit: int, bytes_most: float = math.inf) -> list[Row]:
        """Up to `limit` rows with numbers above `after`, in order.

        Args:
            after: the number before the first.
            limit: most rows.
            bytes_most: in all messages together; a larger one comes alone.
        """
        with reading, closing(self._reader.execute(_READ, (after, limit))) as found:
            return _first_bytes(found, bytes_most)

    def read_lane(
        self, lane: str, after: int, upto: int, limit: int, bytes_most: float = math.inf
    ) -> list[Row]:
        """Up to `limit` rows of one lane with numbers in (after, upto], as `read` gives them."""
        query = (
            "SELECT row, lane, message FROM rows"
            " WHERE row > ? AND row <= ? AND lane = ? ORDER BY row LIMIT ?"
        )
        arguments = (after, upto, lane, limit)
        with reading, closing(self._reader.execute(query, arguments)) as found:
            return _first_bytes(found, bytes_most)

    def delete(self, lane: str, after: int, upto: int) -> None:
        """Delete the rows of a lane in (after, upto].

        Appends wait meanwhile: a few hundred rows take less than a millisecond.
        """
        query = "DELETE FROM rows WHERE row > ? AND row <= ? AND lane = ?"
        with self.append_lock:
            self._writer.execute(query, (after, upto, lane))

    def lanes(self) -> dict[str, int]:
        """Each lane in the file with its newest row."""
        with reading:
            return dict(self._reader.execute("SELECT lane, max(row) FROM rows GROUP BY lane"))

    def count(self, lane: str, after: int, upto: int) -> int:
        """How many rows of a lane have numbers in (after, upto]."""
        query = "SELECT count(*) FROM rows WHERE lane = ? AND row > ? AND row <= ?"
        with reading:
            return int(self._reader.execute(query, (lane, after, upto)).fetchone()[0])

    def first(self, lane: str, after: int, upto: int) -> int | None:
        """The number of a lane's first row in (after, upto], or None."""
        query = "SELECT row FROM rows WHERE row > ? AND row <= ? AND lane = ? ORDER BY row LIMIT 1"
        with reading:
            found = self._reader.execute(query, (after, upto, lane)).fetchone()
        return found and int(found[0])

    def is_made(self) -> bool:
        """Whether its process has come so far as to make the table."""
        with reading:
            query = "SELECT 1 FROM sqlite_master WHERE name = 'rows'"
            return self._reader.execute(query).fetchone() is not None

    def newest(self) -> tuple[int, int]:
        """Number and milliseconds of the newest row, or zeros."""
        query = "SELECT row, at FROM rows ORDER BY row DESC LIMIT 1"
        with reading:
            found = self._reader.execute(query).fetchone()
        return found or (0, 0)

    def oldest_at(self, lane: str, after: int) -> int | None:
        """Milliseconds of a lane's oldest row above `after`, or None."""
        query = "SELECT at FROM rows WHERE row > ? AND lane = ? ORDER BY row LIMIT 1"
        with reading:
            found = self._reader.execute(query, (after, lane)).fetchone()
        return found and int(found[0])

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, so that it begins anew and stays short.

        The first pass does the work while appends go on; only the second, of what came in
        meanwhile, makes them wait.
        """
        with self.append_lock:
            # A read that began long ago would keep the log from being moved.
            self._unpin()
            self._repin()
        with reading:
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with reading, self.append_lock:
            self._unpin()
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._repin()

    def close(self) -> None:
        """Close both connections. Never call it in a forked child."""
        with reading:
            _open_files.discard(self)
            self._unpin()
            self._reader.close()
            self._writer.close()

    @property
    def connections(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """Both connections."""
        return self._writer, self._reader

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path, "rw")
        if not self._is_ours:
            return connection
        for pragma in (
            f"page_size={_PAGE_BYTES}",
            "journal_mode=WAL",
            self._usual_synchronous.removeprefix("PRAGMA "),
            "wal_autocheckpoint=0",
            f"journal_size_limit={_WAL_LIMIT_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute(_SCHEMA)
        return connection


def _first_bytes(found: Iterable[tuple[int, str, Any]], bytes_most: float) -> list[Row]:
    rows: list[Row] = []
    size = 0
    for row in found:
        # What a damaged file gives may be anything.
        size += len(row[2]) if isinstance(row[2], bytes) else 0
        if rows and size > bytes_most:
            break
        rows.append(row)
    return rows


def _take_back(made: Iterable[Path], lock: SpoolLock | None) -> None:
    """Remove what was made of a spool; what cannot be removed counts as a dead process's."""
    for path in (*made, *((lock.path,) if lock is not None else ())):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if lock is not None:
        lock.release()


def _reason(path: Path, error: sqlite3.Error) -> SpoolError:
    """The disk is full, read-only or failing; or else the file is damaged, or closed for that."""
    kind = SpoolFullError if isinstance(error, sqlite3.OperationalError) else SpoolDamagedError
    return kind(f"cannot write the spool {path}: {error}")


class SpoolLock:
    """An flock on `X.lock`, held until it is released, or this process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._pid = os.getpid()
        _held_locks.add(self)

    @classmethod
    def take(cls, path: Path) -> SpoolLock | None:
        """The lock, or None while another process holds it."""
        with reading:  # so that a child that is forked now knows of it
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            return cls(path, descriptor)

    def release(self) -> None:
        """Unlock it; in a forked child only close the descriptor, and the parent's lock stays."""
        # Forgotten before it is closed: two threads may retire a file, and its number is used anew.
        descriptor, self._descriptor = self._descriptor, None
        _held_locks.discard(self)
        if descriptor is None:
            return
        # Closing is not enough: a child that was forked without Python's hooks has it open, too.
        if self._pid == os.getpid():
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class OwnSpool(SpoolFile):
    """The file that this process appends to."""

    def __init__(self, path: Path, lock: SpoolLock, *, durability: str) -> None:
        super().__init__(path, durability=durability)
        self.lock: SpoolLock = lock
        self._files: tuple[Path, Path, Path] = files_of(path)
        self.pid: int = os.getpid()
        self.pin()

    @classmethod
    def create(cls, directory: Path, digest: str, *, durability: str = "normal") -> Self:
        """A new file for this process.

        Raises:
            SpoolError: the directory or the file cannot be written.
        """
        path = directory / f"{digest}-{unique()}{SPOOL_SUFFIX}"
        lock: SpoolLock | None = None
        made: tuple[Path, ...] = ()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = SpoolLock.take(path.with_suffix(LOCK_SUFFIX))
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            made = files_of(path)
            if lock is None:  # pragma: no cover - the name is new, nobody else can hold it
                raise SpoolError(f"the new spool file {path} is already locked")
            return cls(path, lock, durability=durability)
        except (OSError, sqlite3.Error) as error:
            # Each command tries again while the disk is full: nothing may be left of each try.
            _take_back(made, lock)
            raise SpoolError(f"cannot write the spool directory {directory}: {error}") from error

    def retire(self) -> None:
        """Let others ship what is left, without closing: a thread may still be reading.

        From now on it counts as a dead process's file, so it takes no more.
        """
        with self.append_lock:
            self._is_retired = True
        self.lock.release()

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        return _bytes_of(self._files[1])

    def bytes(self) -> int:
        """Size of all that it has on the disk."""
        return sum(_bytes_of(path) for path in self._files)

    def discard(self, upto: int) -> bool:
        """Remove the file for good, unless it has rows above `upto`; it takes no more.

        This needs no room on the disk, as deleting rows does. What cannot be removed is left to
        others, as a dead process's file.

        Returns:
            Whether it was so.
        """
        with reading, self.append_lock:
            if self.last_row > upto:
                return False
            self._is_retired = True
            # The log first: the file without it is as good, since Redis has all of its rows.
            with suppress(OSError):
                for path in (*reversed(self._files), self.lock.path):
                    path.unlink(missing_ok=True)
            self.close()
        return True

    def restore(self) -> bool:
        """Write the file anew if somebody has removed it, with its rows and their numbers.

        Until then they are in a file without a name, which ends with this process. Appends wait
        meanwhile.

        Returns:
            Whether it was gone.

        Raises:
            OSError, sqlite3.OperationalError: the disk does not take it.
        """
        if self.path.exists():
            return False
        with reading, self.append_lock:
            if self._is_retired:
                return False
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # None: the lock is still there, and ours.
            lock = SpoolLock.take(self.lock.path)
            if lock is not None:
                self.lock.release()
                self.lock = lock
            self._unpin()
            try:
                self._copy()
            finally:
                self._repin()
        return True

    def _copy(self) -> None:
        copy = self.path.with_suffix(".copy")
        copy.unlink(missing_ok=True)
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            self._insert("VACUUM INTO ?", (_uri(copy, "rw"),))
        except sqlite3.Error:
            copy.unlink()
            raise
        copy.rename(self.path)
        nameless = self.connections
        self._open()
        for connection in nameless:
            connection.close()

    def close(self) -> None:
        """Close the file and let others ship what is left."""
        with reading, self.append_lock:
            super().close()
        self.lock.release()


def source_of(path: Path) -> str:
    """How a spool file names itself towards Redis."""
    return path.name.removesuffix(SPOOL_SUFFIX).rpartition("-")[2]


def files_of(path: Path) -> tuple[Path, Path, Path]:
    """The files that make up one SQLite database in WAL mode."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open a spool file that is there; unlike SQLite by itself it never makes one.

    Args:
        path: may hold any bytes, also those that mean something in a URI.
        mode: `rw` or `ro`, see https://www.sqlite.org/uri.html.

    Raises:
        FileNotFoundError: the file is gone.
        sqlite3.OperationalError: it cannot be opened.
    """
    try:
        return sqlite3.connect(
            _uri(path, mode),
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.OperationalError as error:
        if path.exists():
            raise
        raise FileNotFoundError(f"the spool file {path} is gone") from error


def _uri(path: Path, mode: str) -> str:
    return f"file://{quote_from_bytes(os.fsencode(path.absolute()))}?mode={mode}"


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def spool_paths(directory: Path, digest: str) -> Iterator[Path]:
    """The spool files of one digest, oldest first."""
    found = []
    for path in directory.glob(f"{digest}-*{SPOOL_SUFFIX}"):
        if path in _inherited:
            continue
        try:
            found.append((path.stat().st_mtime, path))
        except FileNotFoundError:  # shipped and removed by somebody else meanwhile
            continue
    return iter([path for _, path in sorted(found)])


def milliseconds() -> int:
    """Now, as the rows carry it."""
    return time.time_ns() // 1_000_000
