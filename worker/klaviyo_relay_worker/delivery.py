"""The delivery: one planner's turn at one lane.

    admit   may the lane go on? what it holds is read, and what may not be sent is settled
    plan    which commands go out together, and which import jobs are looked at
    send    the conversations with Klaviyo, several at once
    judge   what each answer says of the commands, or of Klaviyo
    settle  written down in the lane, in one step

A killed planner leaves nothing behind but commands that are still in their lane.
"""

from __future__ import annotations

import logging
import time

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from klaviyo_relay_worker.agenda import Agenda
from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.flights import Errand, Flights
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Snooze
from klaviyo_relay_worker.suspicion import Suspicion
from klaviyo_relay_worker.turn import Turn

logger = logging.getLogger("klaviyo_relay_worker.delivery")

# How soon a settlement is tried again while Redis is away.
SETTLE_AGAIN_SECONDS = 0.2


class Delivery:
    """One turn.

    Args:
        lane: the lane.
        lease: held by the caller for the whole turn.
        clock: Redis's time.
        turn: says whether it goes on.
        intake: reads the lane.
        agenda: plans what goes out.
        clearance: knows how long quota is to be waited for.
        flights: sends.
        suspicion: judges server errors.
    """

    def __init__(
        self,
        lane: Lane,
        lease: Lease,
        clock: Clock,
        *,
        turn: Turn,
        intake: Intake,
        agenda: Agenda,
        clearance: Clearance,
        flights: Flights,
        suspicion: Suspicion,
    ) -> None:
        self._lane = lane
        self._lease = lease
        self._clock = clock
        self._turn = turn
        self._intake = intake
        self._agenda = agenda
        self._clearance = clearance
        self._flights = flights
        self._suspicion = suspicion

    def run(self) -> Snooze | None:
        """Deliver until nothing more can go out, the lane must wait, or the turn is over.

        Returns:
            Why the lane waits, or None.

        Raises:
            LeaseLostError: another planner has the lane.
            redis.RedisError: Redis is away; the lane is as it was.
        """
        try:
            while self._turn.goes_on(self._flights.count):
                self._admit()
                for errand in self._agenda.plan():
                    self._flights.send(errand)
                if self._is_done():
                    break
                for errand, returned in self._flights.returned():
                    self._settle(errand, self._suspicion.judge(returned))
        finally:
            self._await_all()
        return self._end()

    def has_more(self) -> bool:
        """Whether another turn would find work at once: time ran out, or more came in."""
        is_cut_short = self._turn.is_out_of_time and bool(self._intake.waiting)
        return self._turn.snooze is None and (is_cut_short or self._intake.has_news())

    def _admit(self) -> None:
        self._turn.ask_leave()
        self._clearance.begin()
        self._intake.fill(self._clock.now())

    def _is_done(self) -> bool:
        """Whether nothing is under way, and nothing worth waiting for here."""
        if self._flights.count:
            return False
        return not self._clearance.wait_in_place(has_waiting=bool(self._intake.waiting))

    def _settle(self, errand: Errand, returned: Returned) -> None:
        self._write_down(errand, returned)
        self._turn.learn(returned)

    def _write_down(self, errand: Errand, returned: Returned) -> None:
        """Klaviyo has it already: while the lease lasts, a Redis that is away is asked again."""
        while True:
            try:
                return errand.settle(returned)
            except (RedisConnectionError, RedisTimeoutError):
                if self._lease.remaining_seconds < SETTLE_AGAIN_SECONDS:
                    raise
                time.sleep(SETTLE_AGAIN_SECONDS)

    def _await_all(self) -> None:
        """After a fault of Redis: whoever plans next must not meet requests of ours at Klaviyo.

        What Klaviyo has answered is still written down, if Redis comes back while the lease lasts.
        """
        for errand, returned in self._flights.end():
            try:
                self._write_down(errand, self._suspicion.judge(returned))
            except (RedisError, LeaseLostError) as error:
                logger.warning("%s: a batch is sent again: %s", self._lane.name, error)

    def _end(self) -> Snooze | None:
        snooze = self._turn.snooze
        self._suspicion.end(snooze)
        if snooze is None and self._intake.waiting:
            self._lane.note_look(self._clock.now())
        return snooze
