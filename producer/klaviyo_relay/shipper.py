"""The shipper: one background thread that moves rows from the spool into the lanes.

It owns nothing: if the thread, the process or Redis dies at any instruction, the rows are in the
file, and whoever ships them next begins at the mark that the lane keeps. The rows shipped in the
last seconds stay in the file, so that a Redis that comes back older than it was (a failover, a
lost second of its log) gets again what it has lost.
"""

from __future__ import annotations

import logging
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from klaviyo_relay.backoff import Backoff
from klaviyo_relay.complaints import Complaints, is_weather
from klaviyo_relay.errors import BackpressureError, MarkFellBackError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.salvage import check_rows, salvage
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.spool import (
    FoundSpool,
    OwnSpool,
    Row,
    SpoolFile,
    SpoolLock,
    files_of,
    locked,
    milliseconds,
    source_of,
    spool_paths,
)

logger = logging.getLogger("klaviyo_relay.shipper")

BATCH_ROWS = 500
# While commands pour in, the thread rests this long between batches. Fewer, larger batches take the
# interpreter's lock from the application's threads less often; a lone command never waits for it.
REST_SECONDS = 0.005
RESTED_ROWS = 400
# Shipped rows are deleted a few at a time, because appends wait meanwhile.
DELETE_ROWS = 200
# Commits between two checkpoints of the write-ahead log: some 10 to 20 MB of it.
CHECKPOINT_ROWS = 5_000
# How long shipped rows stay, for a Redis that falls back to an older state.
RESHIP_SECONDS = 10.0
# A live process whose oldest row waits longer than this is taken for frozen; others ship for it.
FROZEN_SECONDS = 30.0
IDLE_SECONDS = 1.0
ORPHANS_EVERY_SECONDS = 10.0
BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS = 0.05, 5.0
FULL_SECONDS = 0.5


class Flushed(NamedTuple):
    """What a flush left behind.

    Attributes:
        left: commands of this process that are still only in the spool; 0 means that Redis has
            confirmed all. Should that Redis be replaced by one that is behind, its rows are shipped
            again as soon as that is noticed, within a second or so.
    """

    left: int


class _Lane:
    """How far one lane of a file came.

    Attributes:
        mark: the last row that Redis has confirmed.
        is_held: it took no more; its rows wait in the file while other lanes go on.
        shipped: when each batch was confirmed (monotonic seconds), and its last row.
        deleted: the last row that was looked at for deletion.
    """

    def __init__(self, mark: int = 0) -> None:
        self.mark = mark
        self.is_held = False
        self.shipped: deque[tuple[float, int]] = deque()
        self.deleted = 0


class FileShipment:
    """Ships one spool file, and remembers how far it came."""

    def __init__(self, spool: SpoolFile) -> None:
        self.spool = spool
        # Rows up to here have been looked at; those of a held lane still wait for it.
        self.position = 0
        self._lanes: dict[str, _Lane] = {}
        self._checkpointed = 0

    @property
    def left(self) -> int:
        """Rows that Redis has not confirmed."""
        position = self.position
        held = [(name, lane.mark) for name, lane in self._lanes.copy().items() if lane.is_held]
        waiting = sum(self.spool.count(name, mark, position) for name, mark in held)
        return max(0, self.spool.last_row - position) + waiting

    def ship_some(self, entrance: LaneEntrance) -> int:
        """Ship the next batch; returns how many rows, 0 when no lane takes any more."""
        try:
            return self._ship_held(entrance) + self._ship_next(entrance)
        except MarkFellBackError as error:
            logger.warning("%s; shipping what the spool still has", error)
            self.restart(entrance)
            return RESTED_ROWS

    def restart(self, entrance: LaneEntrance) -> None:
        """Begin again where this Redis says that it is; it may have lost what it had."""
        source = self.spool.source
        names = self.spool.lanes()
        self._lanes = {name: _Lane(entrance.mark(name, source)) for name in names}
        marks = [lane.mark for lane in self._lanes.values()]
        self.position = min(marks, default=self.position)

    def tidy(self, replicated_until: float = math.inf) -> None:
        """Delete a few of the rows that have been in Redis for the re-ship window.

        Args:
            replicated_until: what was confirmed later stays, in monotonic seconds.
        """
        for name, lane in self._lanes.items():
            self._tidy_lane(name, lane, min(replicated_until, time.monotonic() - RESHIP_SECONDS))
        if self.spool.last_row - self._checkpointed >= CHECKPOINT_ROWS:
            self._checkpointed = self.spool.last_row
            self.spool.checkpoint()

    def _tidy_lane(self, name: str, lane: _Lane, confirmed_by: float) -> None:
        while lane.shipped and lane.shipped[0][0] < confirmed_by:
            last = lane.shipped[0][1]
            upto = min(last, lane.deleted + DELETE_ROWS)
            self.spool.delete(name, lane.deleted, upto)
            lane.deleted = upto
            if upto < last:
                return
            lane.shipped.popleft()

    def _ship_next(self, entrance: LaneEntrance) -> int:
        rows = self.spool.read(self.position, BATCH_ROWS)
        check_rows(rows, self.position)
        for name, group in _by_lane(rows):
            lane = self._lanes.setdefault(name, _Lane())
            if not lane.is_held:
                self._ship(entrance, name, lane, group)
        if rows:
            self.position = rows[-1][0]
        return len(rows)

    def _ship_held(self, entrance: LaneEntrance) -> int:
        shipped = 0
        for name, lane in self._lanes.items():
            if lane.is_held:
                group = self.spool.read_lane(name, lane.mark, self.position, BATCH_ROWS)
                # Not free before its last row has gone, whatever happens on the way.
                if not group:
                    lane.is_held = False
                elif self._ship(entrance, name, lane, group):
                    shipped += len(group)
        return shipped

    def _ship(self, entrance: LaneEntrance, name: str, lane: _Lane, group: list[Row]) -> bool:
        numbered = [(number, message) for number, _, message in group]
        try:
            shipped = entrance.ship(name, self.spool.source, numbered, lane.mark)
        except BackpressureError:
            lane.is_held = True
            return False
        lane.mark = shipped.mark
        lane.shipped.append((time.monotonic(), group[-1][0]))
        return True


def _by_lane(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    of_lane = itemgetter(1)
    for lane, group in groupby(sorted(rows, key=of_lane), key=of_lane):
        yield lane, list(group)


class Shipper:
    """The thread. Started by the first command; never a reason for a process to stay alive.

    Args:
        spool: this process's own.
        settings: the producer's.
        on_damage: told when the own file turns out to be damaged; from then on it is another
            process's business, as if this one were dead, and the thread ends.
    """

    def __init__(
        self, spool: OwnSpool, settings: Settings, on_damage: Callable[[OwnSpool], None]
    ) -> None:
        self._settings = settings
        self._on_damage = on_damage
        self._spool = spool
        self._own = FileShipment(spool)
        self._entrance: LaneEntrance | None = None
        self._incarnation: str | None = None
        # A signal handler may put to a SimpleQueue in the middle of anything; an Event would hang.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop = False
        self._is_idle = False
        self._progress = threading.Condition()
        self._orphans_at = 0.0
        self._complaints = Complaints()
        self._backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS)
        self._thread = threading.Thread(target=self._run, name="klaviyo-relay-shipper", daemon=True)
        # redis imports this; after the main thread's end, where a short script's commands are
        # shipped, Python refuses to import it for the first time.
        import_whole("concurrent.futures.thread")

        self._thread.start()

    def notify(self) -> None:
        """Say that the spool has a new row. Costs nothing while the thread is busy."""
        if self._is_idle:
            self._wake.put(None)

    def flush(self, timeout: float) -> Flushed:
        """Wait until Redis has every row that the spool has now, or until `timeout` seconds."""
        self._wake.put(None)
        with self._progress:
            self._progress.wait_for(lambda: self._own.left == 0 or self._stop, timeout)
        return Flushed(self._own.left)

    def stop(self, timeout: float) -> bool:
        """End the thread after the batch in hand; what is left stays in the spool.

        Returns:
            Whether it has ended; a Redis that does not answer may keep it for some seconds.
        """
        self.give_up()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """End the thread without waiting for it."""
        self._stop = True
        self._wake.put(None)

    def _run(self) -> None:
        while not self._stop:
            wait = self._work()
            if wait and not self._stop:
                self._rest(wait)
            self._is_idle = False
        with self._progress:
            self._progress.notify_all()
        if self._entrance is not None:
            self._entrance.close()

    def _rest(self, seconds: float) -> None:
        """Wait, unless woken; what rang several times counts once."""
        try:
            self._wake.get(timeout=seconds)
            while True:
                self._wake.get_nowait()
        except queue.Empty:
            return

    def _work(self) -> float:
        """One pass; returns how many seconds to wait before the next."""
        try:
            shipped = self._pass()
            self._backoff.forget()
            if shipped:
                return 0.0 if shipped >= RESTED_ROWS else REST_SECONDS
        except BackpressureError as error:
            return self._complain(error, FULL_SECONDS)
        except sqlite3.OperationalError as error:
            return self._complain(error, self._backoff.wait())
        except sqlite3.DatabaseError as error:
            self._complain(error, 0.0)
            self._stop = True
            self._on_damage(self._spool)
            return 0.0
        except Exception as error:  # noqa: BLE001 - not even a fault of ours may end the thread
            return self._complain(error, self._backoff.wait())
        # From here on a new row rings; one that came in before this line is seen by this look.
        self._is_idle = True
        return 0.0 if self._own.spool.last_row > self._own.position else IDLE_SECONDS

    def _pass(self) -> int:
        entrance = self._entrance_now()
        survey = entrance.survey()
        if survey.incarnation != self._incarnation:
            if self._incarnation is not None:
                self._own.restart(entrance)
            self._incarnation = survey.incarnation
        if survey.is_full:
            raise BackpressureError
        shipped = self._own.ship_some(entrance)
        with self._progress:
            self._progress.notify_all()
        self._own.tidy(entrance.replicated_until())
        if not shipped:
            self._adopt(entrance)
        return shipped

    def _entrance_now(self) -> LaneEntrance:
        if self._entrance is None:
            redis = connect(self._settings.redis_url)
            self._entrance = LaneEntrance(redis, self._settings.keys, self._settings.lane_max_bytes)
        return self._entrance

    def _adopt(self, entrance: LaneEntrance) -> None:
        if time.monotonic() - self._orphans_at < ORPHANS_EVERY_SECONDS:
            return
        self._orphans_at = time.monotonic()
        ship_orphans(entrance, self._settings, besides=self._own.spool.source)

    def _complain(self, error: Exception, wait: float) -> float:
        """Say it once a minute: the application goes on, and nothing is lost."""
        if self._complaints.is_due():
            logger.warning(
                "cannot ship to %s: %s; %d commands wait in the spool",
                masked(self._settings.redis_url),
                error,
                self._own.left,
                exc_info=None if is_weather(error, sqlite3.Error) else error,
            )
        with self._progress:
            self._progress.notify_all()
        return wait


def ship_orphans(entrance: LaneEntrance, settings: Settings, besides: str = "") -> int:
    """Ship what processes that are dead or frozen have left; returns how many files were looked at.

    A dead process's file is removed once its rows have been in Redis for the re-ship window.
    """
    files = 0
    for path in spool_paths(settings.spool_directory, settings.digest):
        if source_of(path) != besides:
            with locked(path) as lock:
                files += _ship_orphan(entrance, path, lock)
    return files


def _ship_orphan(entrance: LaneEntrance, path: Path, lock: SpoolLock | None) -> bool:
    """Ship a file as far as it is ours to ship; returns whether it could be opened."""
    is_open = False
    try:
        with closing(FoundSpool(path, lock)) as found:
            is_open = True
            _ship_found(entrance, found)
    except FileNotFoundError:
        return False
    except sqlite3.OperationalError as error:
        logger.warning("the spool file %s cannot be read now: %s", path, error)
    except (sqlite3.DatabaseError, UnicodeError) as error:
        if lock is not None:
            _ship_damaged(entrance, path, lock, error)
    return is_open


def _ship_found(entrance: LaneEntrance, found: FoundSpool) -> None:
    shipment = FileShipment(found.spool)
    shipment.restart(entrance)
    if found.is_dead or _is_frozen(entrance, found):
        while shipment.ship_some(entrance):
            pass
    if found.is_dead and _is_over(entrance, found):
        found.remove()


def _is_frozen(entrance: LaneEntrance, found: FoundSpool) -> bool:
    """Whether the file's oldest unshipped row has waited so long that its owner cannot be well."""
    source = found.spool.source
    for name in found.spool.lanes():
        since = found.spool.oldest_at(name, entrance.mark(name, source))
        if since is not None and milliseconds() - since > FROZEN_SECONDS * 1000:
            return True
    return False


def _is_over(entrance: LaneEntrance, found: FoundSpool) -> bool:
    """Whether Redis has had every row for the re-ship window, by Redis's own clock.

    And for as long as its replicas are behind.
    """
    now = entrance.now()
    window = max(RESHIP_SECONDS, time.monotonic() - entrance.replicated_until())
    for name, newest in found.spool.lanes().items():
        mark = entrance.dated_mark(name, found.spool.source)
        if mark.number < newest or now - mark.at <= window:
            return False
    return True


def _ship_damaged(entrance: LaneEntrance, path: Path, lock: SpoolLock, error: Exception) -> None:
    """Ship what can be read of a dead process's damaged file, and set the file aside for people."""
    found = salvage(path)
    for lane, group in _by_lane(found.rows):
        for at in range(0, len(group), BATCH_ROWS):
            numbered = [(number, message) for number, _, message in group[at : at + BATCH_ROWS]]
            entrance.ship(lane, source_of(path), numbered)
    for file in files_of(path):
        if file.exists():
            file.rename(file.with_name(f"{file.name}.corrupt"))
    lock.path.unlink(missing_ok=True)
    logger.error(
        "the spool file %s is damaged (%s): %d commands were read and shipped, at least %d could"
        " not be read; kept as %s.corrupt",
        path,
        error,
        len(found.rows),
        found.unreadable,
        path.name,
    )
