"""The preparation: puts the rooms of one turn together."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.admission import admission_of
from klaviyo_relay_worker.agenda import Agenda
from klaviyo_relay_worker.breaker import BreakerState
from klaviyo_relay_worker.choice import Choice
from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Courier
from klaviyo_relay_worker.delivery import Delivery
from klaviyo_relay_worker.dispatch import Dispatch
from klaviyo_relay_worker.flights import Flights
from klaviyo_relay_worker.follow import Follow
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.lane import Lane, LaneState
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.plan.imports import Readings
from klaviyo_relay_worker.shares import Senders
from klaviyo_relay_worker.stray_watch import StrayWatch
from klaviyo_relay_worker.suspicion import Suspicion
from klaviyo_relay_worker.telemetry.event import Telemetry
from klaviyo_relay_worker.turn import Turn


class Terms(Struct, frozen=True, kw_only=True):
    """On which terms a planner takes its turn.

    Attributes:
        state: the lane's, as it was a moment ago.
        breaker: of the lane's family, likewise.
        is_probe: until Klaviyo has answered properly, one batch at a time.
        is_draining: asked before each plan; true ends the turn after what is in flight.
        is_allowed: asked once a second; false, a pause or an open breaker, ends it likewise.
        parked_seconds: for so long a command is tried again that Klaviyo fails with.
        paused_seconds: that the lane has been paused in all.
    """

    state: LaneState
    breaker: BreakerState
    is_probe: bool
    is_draining: Callable[[], bool]
    is_allowed: Callable[[], bool]
    parked_seconds: float
    paused_seconds: float

    @property
    def failures(self) -> int:
        """Outages in a row before this turn: the lane's own, or those that its family met."""
        return max(self.state.failures, self.breaker.failures)

    @property
    def is_up(self) -> bool:
        """Whether other lanes got proper answers from Klaviyo since this one began to fail."""
        return 0 < self.state.failing_since < self.breaker.succeeded


class Preparation:
    """Prepares the deliveries of one worker process.

    Args:
        accounts: pauses, quotas, list names.
        senders: threads for conversations.
        telemetry: told of every request.
    """

    def __init__(
        self, redis: Redis, keys: Keys, accounts: Accounts, senders: Senders, telemetry: Telemetry
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._accounts = accounts
        self._senders = senders
        self._telemetry = telemetry
        # By the lanes' names. A job with many refused rows takes more pages of errors than one turn
        # can read; what a worker has read, it need not read again.
        self._readings: dict[str, Readings] = {}

    def delivery(self, lane: Lane, lease: Lease, client: KlaviyoClient, terms: Terms) -> Delivery:
        """A delivery that may begin; it has read nothing of the stream yet."""
        accounts = self._accounts
        clock = Clock(terms.breaker.now)
        admission = admission_of(self._redis, self._keys, lane.account, lane.lane, accounts.lists)
        intake = Intake(lane, lease, admission)
        suspicion = Suspicion(
            lane,
            terms.state,
            clock,
            terms.parked_seconds,
            paused_seconds=terms.paused_seconds,
            is_up=terms.is_up,
        )
        turn = Turn(
            lane,
            accounts,
            failures=terms.state.failures,
            is_draining=terms.is_draining,
            is_allowed=terms.is_allowed,
            is_probe=terms.is_probe,
        )
        courier = Courier(
            client,
            accounts,
            self._telemetry,
            lane,
            lease,
            clock=clock,
            failures=terms.failures,
            is_draining=terms.is_draining,
        )
        flights = Flights(courier, self._senders, lane.account)
        clearance = Clearance(lane, turn, flights, accounts.quota)
        stray_watch = StrayWatch(lane, clock, terms.state.imports, turn=turn, clearance=clearance)
        agenda = Agenda(
            turn,
            intake,
            clearance,
            choice=Choice(lane, clock, accounts, admission, intake),
            dispatch=Dispatch(
                lane,
                lease,
                clock,
                accounts,
                admission=admission,
                intake=intake,
                watch_for=stray_watch.add,
            ),
            follow=Follow(
                lane,
                lease,
                clock,
                self._readings.setdefault(lane.name, {}),
                admission=admission,
                intake=intake,
                clearance=clearance,
            ),
            stray_watch=stray_watch,
            suspicion=suspicion,
        )
        return Delivery(
            lane,
            lease,
            clock,
            turn=turn,
            intake=intake,
            agenda=agenda,
            clearance=clearance,
            flights=flights,
            suspicion=suspicion,
        )
