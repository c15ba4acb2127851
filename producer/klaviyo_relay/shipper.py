"""The shipper: one background thread that moves rows from this process's spool into the lanes.

Between batches it tidies its own file, and looks for what others have left behind.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from klaviyo_relay.backoff import Backoff
from klaviyo_relay.complaints import Complaints, is_weather, saying
from klaviyo_relay.errors import BackpressureError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.orphans import ship_orphans
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.shipment import MANY_ROWS, FileShipment
from klaviyo_relay.spool import OwnSpool
from klaviyo_relay.upkeep import Upkeep

logger = logging.getLogger("klaviyo_relay.shipper")

# While commands pour in, the thread rests this long between batches. Fewer, larger batches take the
# interpreter's lock from the application's threads less often; a lone command never waits for it.
REST_SECONDS = 0.005
IDLE_SECONDS = 1.0
# While shipped rows are deleted, a few at a time.
TIDY_SECONDS = 0.02
# A file never gets smaller. One that grew so large is removed as soon as nobody needs it any more.
LARGE_BYTES = 64_000_000
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


class Shipper:
    """The thread. Started by the first command; never a reason for a process to stay alive.

    Args:
        spool: this process's own.
        settings: the producer's.
        on_end: told when the own file takes no more, and the thread ends: it is damaged, and
            another process's business from then on, as if this one were dead; or it is removed.
    """

    def __init__(
        self, spool: OwnSpool, settings: Settings, on_end: Callable[[OwnSpool], None]
    ) -> None:
        self._settings = settings
        self._on_end = on_end
        self._spool = spool
        self._upkeep = Upkeep(spool)
        self._own = FileShipment(spool)
        self._entrance: LaneEntrance | None = None
        self._incarnation: str | None = None
        # A signal handler may put to a SimpleQueue in the middle of anything; an Event would hang.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop = False
        self._is_idle = False
        self._is_tidying = False
        self._progress = threading.Condition()
        self._orphans_at = 0.0
        self._complaints = Complaints()
        self._of_orphans = Complaints()
        self._of_disk = Complaints()
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
            self._keep()
            return self._wait_after(self._pass())
        except BackpressureError as error:
            return self._complain(error, FULL_SECONDS)
        except sqlite3.OperationalError as error:
            return self._complain(error, self._backoff.wait())
        except sqlite3.DatabaseError as error:
            self._end()
            return self._complain(error, 0.0)
        except Exception as error:  # noqa: BLE001 - not even a fault of ours may end the thread
            return self._complain(error, self._backoff.wait())

    def _wait_after(self, shipped: int) -> float:
        self._backoff.forget()
        if self._own.refusal:
            self._say(self._own.refusal)
        if shipped:
            return 0.0 if shipped >= MANY_ROWS else REST_SECONDS
        # From here on a new row rings; one that came in before this line is seen by this look.
        self._is_idle = True
        if self._own.spool.last_row > self._own.position:
            return 0.0
        return TIDY_SECONDS if self._is_tidying else IDLE_SECONDS

    def _end(self) -> None:
        self._stop = True
        self._on_end(self._spool)

    def _keep(self) -> None:
        try:
            self._upkeep.keep()
        except (OSError, sqlite3.OperationalError) as error:
            self._say_of_disk(error)

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
        self._tidy(entrance.replicated_until())
        if not shipped:
            self._adopt(entrance)
        return shipped

    def _tidy(self, replicated_until: float) -> None:
        """Delete what is shipped; where no row can be deleted any more, or many, all at once."""
        is_stuck = self._is_tidying = False
        try:
            self._is_tidying = self._own.tidy(replicated_until)
        except sqlite3.OperationalError as error:
            # Deleting needs room on the disk, which may be full of what is to be deleted.
            is_stuck = True
            self._say_of_disk(error)
        if (
            self._own.is_spent()
            and (is_stuck or self._spool.bytes() > LARGE_BYTES)
            and self._spool.discard(self._own.position)
        ):
            self._end()

    def _entrance_now(self) -> LaneEntrance:
        if self._entrance is None:
            redis = connect(self._settings.redis_url)
            self._entrance = LaneEntrance(redis, self._settings.keys, self._settings.lane_max_bytes)
        return self._entrance

    def _adopt(self, entrance: LaneEntrance) -> None:
        if time.monotonic() - self._orphans_at < ORPHANS_EVERY_SECONDS:
            return
        self._orphans_at = time.monotonic()
        ship_orphans(entrance, self._settings, self._own.spool.source, self._of_orphans)

    def _complain(self, error: Exception, wait: float) -> float:
        self._say(error)
        with self._progress:
            self._progress.notify_all()
        return wait

    def _say_of_disk(self, error: Exception) -> None:
        if self._of_disk.is_due():
            with saying():
                logger.warning("cannot tidy the spool file %s: %s", self._spool.path, error)

    def _say(self, error: Exception) -> None:
        """Once a minute: the application goes on, and nothing is lost."""
        if self._complaints.is_due():
            with saying():
                logger.warning(
                    "cannot ship to %s: %s; %d commands wait in the spool",
                    masked(self._settings.redis_url),
                    error,
                    self._own.left,
                    exc_info=None if is_weather(error, sqlite3.Error) else error,
                )
