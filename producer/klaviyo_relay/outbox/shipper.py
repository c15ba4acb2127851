"""The outbox's relay: number what is committed, ship it, delete it after the re-ship window.

It remembers nothing that it could not read again, from the database and from the lanes' marks, so
it may be killed at any instruction. These are the steps, each harmless to repeat:

1. Numbers are given to committed rows, and that is committed, before any of them is shipped.
2. A lane takes rows in the order of their numbers and ignores what it has (scripts/ship.lua).
3. A row is deleted when it has been in Redis for the re-ship window and the lane's mark still
   says so. A Redis that came back older within it gets again what it has lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from klaviyo_relay.backoff import Backoff
from klaviyo_relay.complaints import Complaints, is_weather, saying
from klaviyo_relay.errors import BackpressureError, LeaseLostError, MarkFellBackError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.lane_entrance import BATCH_COMMANDS, LaneEntrance, batches
from klaviyo_relay.outbox.lease import LEASE_SECONDS, Lease
from klaviyo_relay.outbox.store import OutboxStore
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.shipment import RESHIP_SECONDS
from klaviyo_relay.shipper import BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS, FULL_SECONDS

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger("klaviyo_relay.outbox")

# How long a committed row may wait until it is seen.
POLL_SECONDS = 0.25
# Batches of rows deleted in one pass, so that deleting much does not delay what is new.
DELETE_BATCHES = 4


class _Confirmed(NamedTuple):
    """Rows that a lane has: since when, and up to which number."""

    since: float
    lane: str
    upto: int


class Shipment:
    """What one relay knows of an outbox while it ships.

    Args:
        store: the database.
        entrance: the lanes.
        holder: the relay's name, under which numbers are given.
        lanes: names of all lanes that Redis knows.
    """

    def __init__(
        self, store: OutboxStore, entrance: LaneEntrance, holder: str, lanes: Iterable[str]
    ) -> None:
        self._store = store
        self._entrance = entrance
        self._holder = holder
        self._source = store.state().source
        # The highest number of each lane in the database and in Redis.
        self._newest = store.newest()
        self._marks = {lane: entrance.mark(lane, self._source) for lane in {*self._newest, *lanes}}
        # Lanes that took no more: until when they are left alone, and what they said.
        self._refusals: dict[str, tuple[float, BackpressureError]] = {}
        # How many rows of a lane are read for the next batch.
        self._limits: defaultdict[str, int] = defaultdict(lambda: BATCH_COMMANDS)
        now = time.monotonic()
        self._confirmed = deque(
            _Confirmed(now, lane, self._marks[lane]) for lane in self._newest if self._marks[lane]
        )

    def step(self) -> bool:
        """Number what is new and ship a batch to each lane; whether to go on at once.

        Raises:
            LeaseLostError: another relay has taken over.
            MarkFellBackError: Redis has lost rows; begin with a new shipment.
            redis.RedisError: Redis does not answer, or whatever the database raises.
        """
        numbered: dict[str, int] = {}
        if self._store.has_new():
            above = max(self._marks.values(), default=0)
            numbered = self._store.number_rows(self._holder, BATCH_COMMANDS, above)
            self._newest.update(numbered)
        behind = [
            lane for lane, newest in self._newest.items() if self._marks.get(lane, 0) < newest
        ]
        shipped = [self._ship_some(lane) for lane in behind]
        is_more_due = self._tidy()
        return bool(numbered) or any(shipped) or is_more_due

    @property
    def refusal(self) -> BackpressureError | None:
        """Why a lane takes no more at present, if there is such a lane."""
        return next((error for _, error in self._refusals.values()), None)

    def _ship_some(self, lane: str) -> bool:
        """Ship the next batch of a lane; False when it takes none for now."""
        if lane in self._refusals and self._refusals[lane][0] > time.monotonic():
            return False
        mark = self._marks.get(lane, 0)
        rows = next(batches(self._store.read(lane, mark, self._limits[lane])), ())
        if not rows:
            # Another relay has shipped and deleted them.
            self._newest[lane] = mark
            self._refusals.pop(lane, None)
            return False
        try:
            shipped = self._entrance.ship(lane, self._source, rows, mark)
        except BackpressureError as error:
            self._refusals[lane] = (time.monotonic() + FULL_SECONDS, error)
            return False
        self._refusals.pop(lane, None)
        self._marks[lane] = shipped.mark
        # Of rows so large that few make a batch, few are read in vain.
        self._limits[lane] = min(BATCH_COMMANDS, 2 * len(rows))
        self._confirmed.append(_Confirmed(time.monotonic(), lane, rows[-1][0]))
        return True

    def _tidy(self) -> bool:
        """Delete what has been in Redis, and at a replica, for the re-ship window.

        Returns:
            Whether more of it is due.
        """
        for _ in range(DELETE_BATCHES):
            if not self._is_due():
                return False
            _, lane, upto = self._confirmed[0]
            mark = self._entrance.mark(lane, self._source)
            if mark < upto:
                raise MarkFellBackError(mark)
            self._store.delete(lane, upto)
            self._confirmed.popleft()
        return self._is_due()

    def _is_due(self) -> bool:
        until = min(self._entrance.replicated_until(), time.monotonic() - RESHIP_SECONDS)
        return bool(self._confirmed) and self._confirmed[0].since < until


class OutboxShipper:
    """Ships an outbox until it is stopped, in a thread (`start`) or in the caller's (`run`).

    Run as many as you like, in any processes on any hosts: one works, the others stand by. A
    thread does not survive a fork; start it in the process that is to have it.

    Args:
        store: the database, such as `klaviyo_relay.contrib.sqlalchemy.SqlAlchemyStore(engine)`.
        settings: Defaults to `Settings.from_env()`. Of them redis_url, namespace and
            lane_max_bytes are used.
        poll_seconds: how often to look for committed rows while there are none.
        lease_seconds: how long after a relay has died another takes over.

    Raises:
        ConfigurationError: the environment has settings that cannot work.
    """

    def __init__(
        self,
        store: OutboxStore,
        settings: Settings | None = None,
        *,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._settings = settings or Settings.from_env()
        self._store = store
        self._poll_seconds = poll_seconds
        self._lease = Lease(store, lease_seconds)
        self._redis: Redis | None = None
        self._entrance: LaneEntrance | None = None
        self._incarnation: str | None = None
        self._shipment: Shipment | None = None
        self._wake = threading.Event()
        self._is_stopping = False
        self._backoff = Backoff(BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS)
        self._complaints = Complaints()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a daemon thread."""
        # redis imports this; Python refuses to import it for the first time at a process's end.
        import_whole("concurrent.futures.thread")

        self._thread = threading.Thread(target=self.run, name="klaviyo-relay-outbox", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that something was committed, to be faster than the next poll."""
        self._wake.set()

    def stop(self, timeout: float | None = None) -> None:
        """End after the batch in hand; what is left stays in the table.

        Args:
            timeout: most seconds to wait for the thread's end. Defaults to no limit.
        """
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Ship until another thread calls `stop`."""
        try:
            while not self._is_stopping:
                wait = self._work()
                if wait and not self._is_stopping:
                    self._wake.wait(wait)
                self._wake.clear()
        finally:
            self._leave()

    def _work(self) -> float:
        """One pass; returns how many seconds to wait before the next."""
        try:
            wait = 0.0 if self._pass() else self._poll_seconds
        except LeaseLostError:
            self._lease.lose()
            wait = self._poll_seconds
        except MarkFellBackError as error:
            self._shipment = None
            with saying():
                logger.warning("%s; shipping what the outbox still has", error)
            wait = 0.0
        except BackpressureError as error:
            return self._complain(error, FULL_SECONDS)
        except Exception as error:  # noqa: BLE001 - not even a fault of ours may end the loop
            # Begin again from what the database and Redis say.
            self._shipment = None
            return self._complain(error, self._backoff.wait())
        self._backoff.forget()
        return wait

    def _pass(self) -> bool:
        if not self._lease.hold():
            self._shipment = None
            return False
        entrance, redis = self._connected()
        survey = entrance.survey()
        if self._shipment is None or survey.incarnation != self._incarnation:
            register: Any = redis.smembers(self._settings.keys.register)
            lanes = {name.decode() for name in register}
            self._shipment = Shipment(self._store, entrance, self._lease.holder, lanes)
            self._incarnation = survey.incarnation
        if survey.is_full:
            raise BackpressureError
        is_more_due = self._shipment.step()
        if self._shipment.refusal:
            self._say(self._shipment.refusal)
        return is_more_due

    def _connected(self) -> tuple[LaneEntrance, Redis]:
        if self._redis is None or self._entrance is None:
            self._redis = connect(self._settings.redis_url)
            self._entrance = LaneEntrance(
                self._redis, self._settings.keys, self._settings.lane_max_bytes
            )
        return self._entrance, self._redis

    def _leave(self) -> None:
        try:
            self._lease.release()
        except self._store.errors as error:
            with saying():
                logger.warning("the lease of the outbox ends by itself: %s", type(error).__name__)
        self._store.close()
        if self._entrance is not None:
            self._entrance.close()

    def _complain(self, error: Exception, wait: float) -> float:
        self._say(error)
        return wait

    def _say(self, error: Exception) -> None:
        """Once a minute: committed commands wait in their table, and nothing is lost."""
        if self._complaints.is_due():
            with saying():
                logger.warning(
                    "cannot ship the outbox to %s: %s: %s; committed commands wait in their table",
                    masked(self._settings.redis_url),
                    type(error).__name__,
                    error,
                    exc_info=None if is_weather(error, *self._store.errors) else error,
                )
