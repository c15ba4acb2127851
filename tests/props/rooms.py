"""The rooms of one turn over a real Redis, with a courier that the test plays.

Everything but the conversations with Klaviyo is real: lane, lease, quota, admission, senders.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from redis import Redis

from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.admission import admission_of
from klaviyo_relay_worker.agenda import Agenda
from klaviyo_relay_worker.choice import Choice
from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.dispatch import Dispatch
from klaviyo_relay_worker.flights import Errand, Flights
from klaviyo_relay_worker.follow import Follow
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.outcome import Outcome, Reason, Snooze
from klaviyo_relay_worker.plan.batch import Batch, Ledger
from klaviyo_relay_worker.plan.imports import Readings
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.shares import Senders, Shares
from klaviyo_relay_worker.status import Status
from klaviyo_relay_worker.stray_watch import StrayWatch
from klaviyo_relay_worker.suspicion import Suspicion
from klaviyo_relay_worker.turn import Turn
from settled_lanes import SettledLane

ACCOUNT = "default"
WAIT_SECONDS = 15.0


class PlayedCourier:
    """Holds a conversation until the test lets it land, or the flights end.

    Attributes:
        is_stopped: it was told to end what is under way.
    """

    def __init__(self) -> None:
        self._ends: dict[int, queue.SimpleQueue[Returned]] = {}
        self._batches: list[Batch] = []
        self.is_stopped = False

    def deliver(self, batch: Batch) -> Returned:
        """As `Courier.deliver`."""
        end = self._ends.setdefault(id(batch), queue.SimpleQueue())
        self._batches.append(batch)
        if self.is_stopped:
            self.land(batch, snooze=Snooze(0.0, Reason.DRAINING))
        try:
            return end.get(timeout=WAIT_SECONDS)
        except queue.Empty:  # whoever waits for it must not wait for ever
            return Returned(batch, Ledger(), Snooze(0.0, "left in the air"))

    def land(
        self, batch: Batch, ledger: Ledger | None = None, snooze: Snooze | None = None
    ) -> None:
        """Let a conversation end so."""
        end = self._ends.setdefault(id(batch), queue.SimpleQueue())
        end.put(Returned(batch, ledger or Ledger(), snooze))

    def stop(self) -> None:
        """As `Courier.stop`: what is under way ends after its request."""
        self.is_stopped = True
        for batch in list(self._batches):
            self.land(batch, snooze=Snooze(0.0, Reason.DRAINING))


class Rooms:
    """One turn at one lane, taken apart.

    Args:
        lane: its name within the account.
        imports: notes about imports of earlier turns: name -> when.
        places: of the sender threads that accounts share; None: one account has them all.
        more: for `Turn`: failures, is_probe.

    Attributes:
        is_draining, is_allowed: what the turn is told when it asks.
    """

    def __init__(
        self,
        redis: Redis,
        lane: str = "profiles",
        *,
        imports: Mapping[str, float] | None = None,
        places: int | None = None,
        **more: Any,
    ) -> None:
        self.redis, self.keys = redis, Keys()
        self.held = SettledLane(redis, self.keys, lane)
        self.lane, self.lease = self.held.lane, self.held.lease
        self.clock = Clock(time.time())
        settings = WorkerSettings(api_keys={ACCOUNT: "pk_test"})
        self.accounts = Accounts(redis, self.keys, settings)
        self.is_draining, self.is_allowed, self.asked = False, True, 0
        self.turn = Turn(
            self.lane,
            self.accounts,
            is_draining=lambda: self.is_draining,
            is_allowed=self._ask,
            **{"failures": 0, "is_probe": False, **more},
        )
        self.courier = PlayedCourier()
        self.senders = Senders(16, Shares(places))
        self.flights = Flights(self.courier, self.senders, ACCOUNT)
        self.clearance = Clearance(self.lane, self.turn, self.flights, self.accounts.quota)
        self.admission = admission_of(redis, self.keys, ACCOUNT, lane, self.accounts.lists)
        self.intake = Intake(self.lane, self.lease, self.admission)
        state = self.lane.state()
        self.suspicion = Suspicion(
            self.lane, state, self.clock, 3 * 86_400.0, paused_seconds=0.0, is_up=False
        )
        at = {"intake": self.intake, "clearance": self.clearance}
        self.stray_watch = StrayWatch(
            self.lane, self.clock, imports or {}, turn=self.turn, clearance=self.clearance
        )
        self.dispatch = Dispatch(
            self.lane, self.lease, self.clock, self.accounts,
            admission=self.admission, intake=self.intake, watch_for=self.stray_watch.add,
        )  # fmt: skip
        self.readings: Readings = {}
        self.follow = Follow(
            self.lane, self.lease, self.clock, self.readings, admission=self.admission, **at
        )
        self.choice = Choice(self.lane, self.clock, self.accounts, self.admission, self.intake)
        self.agenda = Agenda(
            self.turn,
            self.intake,
            self.clearance,
            choice=self.choice,
            dispatch=self.dispatch,
            follow=self.follow,
            stray_watch=self.stray_watch,
            suspicion=self.suspicion,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        list(self.flights.end())
        self.senders.shutdown()

    def _ask(self) -> bool:
        self.asked += 1
        return self.is_allowed

    def ship(self, *commands: Command) -> None:
        """Commands into the lane, and into the intake."""
        self.put(*commands)
        self.intake.fill(self.clock.now())

    def put(self, *commands: Command) -> None:
        """Commands into the lane, and nobody has read them yet."""
        entrance = LaneEntrance(self.redis, self.keys, 10**9)
        for command in commands:
            at = int(self.clock.now() * 1000)
            envelope = Envelope(id=new_id(), account=ACCOUNT, at=at, command=command)
            entrance.ship(self.lane.name, f"test-{envelope.id}", [(1, encode(envelope))])

    def plan(self) -> list[Batch]:
        """What goes out now; it is in flight then."""
        sent = []
        for errand in self.agenda.plan():
            self.flights.send(errand)
            sent.append(errand.batch)
        return sent

    def land(
        self, batch: Batch, outcome: Outcome | None = None, snooze: Snooze | None = None
    ) -> None:
        """A batch is back, and all its commands have this outcome."""
        ledger = Ledger()
        if outcome is not None:
            ledger.settle(batch.entries, outcome)
        self.courier.land(batch, ledger, snooze)
        self.settle_one()

    def settle_one(self) -> Errand:
        """Wait for what lands next, and do with it what a delivery does."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            for errand, returned in self.flights.returned():
                judged = self.suspicion.judge(returned)
                errand.settle(judged)
                self.turn.learn(judged)
                return errand
        raise AssertionError("nothing landed")

    def numbers(self) -> dict[str, int]:
        """Those numbers of the lane that are not 0."""
        found = Status(self.redis, self.keys).report()["accounts"][ACCOUNT]["lanes"][self.lane.lane]
        names = ("delivered", "dead", "dropped", "backlog", "parked", "following")
        return {name: found[name] for name in names if found[name]}


def emails(batches: Iterable[Batch]) -> list[list[str]]:
    """Whom each batch is about."""
    return [[entry.command.email for entry in batch.entries] for batch in batches]
