"""The delivery: one planner's turn at one lane.

    admit   may the lane deliver now? its lease, its snooze, its account
    plan    which commands go out together
    send    the conversation with Klaviyo, several batches at once
    judge   what each answer says of the commands, or of Klaviyo
    settle  written down in the lane, in one step

A killed planner leaves nothing behind but commands that are still in their lane.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.admission import Admission
from klaviyo_relay_worker.breaker import BreakerState, family_of
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import LEASE, QUOTA, Courier, Returned
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.judge import UNAUTHORIZED
from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Snooze
from klaviyo_relay_worker.plan import consent, events, imports, lists, privacy, profiles, strays
from klaviyo_relay_worker.plan.batch import Batch, Entry, Situation, decided
from klaviyo_relay_worker.settings import REQUEST_SECONDS_MOST
from klaviyo_relay_worker.settlement import JobRecord
from klaviyo_relay_worker.shares import Senders
from klaviyo_relay_worker.suspicion import Suspicion

logger = logging.getLogger("klaviyo_relay_worker.delivery")

# Enough to use up a limit of 2.5 requests a second when each takes 2 seconds, with room.
IN_FLIGHT_MOST = 8
# A planner gives its place up after this long, so that no lane holds a worker's thread for ever.
TURN_SECONDS = 20.0
# For less than this the planner waits in its place; for more the lane snoozes.
QUOTA_PATIENCE_SECONDS = 2.0
# How soon the jobs that may be ours are looked at again.
STRAY_SECONDS = 2.0
STRAY_JOB = "stray_job"
# How often a turn asks whether it may still deliver.
ASK_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_SETTLE_AGAIN_SECONDS = 0.2

_CHOOSERS: dict[str, Any] = {
    "events": events.choose,
    "profiles": profiles.choose,
    "lists": lists.choose,
    "consent": consent.choose,
    "privacy": privacy.choose,
}


class Delivery:
    """One turn.

    Args:
        lane: the lane.
        lease: held by the caller for the whole turn.
        courier: sends.
        accounts: pauses and list names.
        senders: hold conversations.
        admission: says what may be sent.
        clock: Redis's time.
        is_draining: asked before each plan; true ends the turn after what is in flight.
        is_admitted: asked once a second; false, a pause or an open breaker, ends it likewise.
        parked_seconds: for so long a command is tried again that Klaviyo fails with.
        paused_seconds: that the lane has been paused in all.
        breaker: of the lane's family, as it was at the beginning.
        is_probe: until Klaviyo has answered properly, one batch at a time.
    """

    def __init__(
        self,
        lane: Lane,
        lease: Lease,
        courier: Courier,
        accounts: Accounts,
        senders: Senders,
        *,
        admission: Admission,
        clock: Clock,
        is_draining: Callable[[], bool],
        is_admitted: Callable[[], bool],
        parked_seconds: float,
        paused_seconds: float,
        breaker: BreakerState,
        is_probe: bool,
    ) -> None:
        self._lane = lane
        self._lease = lease
        self._courier = courier
        self._accounts = accounts
        self._senders = senders
        self._admission = admission
        self._clock = clock
        self._is_draining = is_draining
        self._is_admitted = is_admitted
        self._asked_at = time.monotonic()
        self._is_halted = False
        self._choose = _CHOOSERS[lane.lane.partition(":")[0]]
        self._is_bulk_lane = lane.lane.endswith(":bulk")
        self._intake = Intake(lane, lease, admission)
        self._back: queue.SimpleQueue[tuple[Returned, JobRecord | None, str]] = queue.SimpleQueue()
        self._in_flight = 0
        self._snooze: Snooze | None = None
        self._quota_wait = 0.0
        self._quota_at = 0.0
        state = lane.state()
        self._failures = state.failures
        self._strays = state.imports
        self._is_probe = is_probe
        is_up = 0 < state.failing_since < breaker.succeeded
        self._suspicion = Suspicion(
            lane, state, clock, parked_seconds, paused_seconds=paused_seconds, is_up=is_up
        )
        self._ends_at = time.monotonic() + TURN_SECONDS

    def run(self) -> Snooze | None:
        """Deliver until nothing more can go out, the lane must wait, or the turn is over.

        Returns:
            Why the lane waits, or None.

        Raises:
            LeaseLostError: another planner has the lane.
            redis.RedisError: Redis is away; the lane is as it was.
        """
        try:
            while self._is_going_on():
                self._ask_admission()
                self._quota_wait = 0.0
                self._intake.fill(self._clock.now())
                self._send_looks()
                self._send_batches()
                if not self._in_flight and not self._wait_in_place():
                    break
                self._settle_returned()
        finally:
            self._await_in_flight()
        self._suspicion.end(self._snooze)
        if self._snooze is None and self._intake.waiting:
            self._lane.note_look(self._clock.now())
        return self._snooze

    def _await_in_flight(self) -> None:
        """After a fault of Redis: whoever plans next must not meet requests of ours at Klaviyo.

        What Klaviyo has answered is still written down, if Redis comes back while the lease lasts.
        """
        self._courier.stop()
        while self._in_flight:
            returned, record, job_id = self._back.get()
            self._in_flight -= 1
            try:
                self._settle_patiently(self._suspicion.judge(returned), record, job_id)
            except (RedisError, LeaseLostError) as error:
                logger.warning("%s: a batch is sent again: %s", self._lane.name, error)

    def has_more(self) -> bool:
        """Whether another turn would find work at once: time ran out, or more came in."""
        is_over = time.monotonic() > self._ends_at and bool(self._intake.waiting)
        return self._snooze is None and (is_over or self._intake.has_news())

    def _ask_admission(self) -> None:
        """A pause, or a breaker that another planner opened, need not wait for the turn's end."""
        # A probe would meet itself: its own breaker is open to nobody else.
        if self._is_probe or time.monotonic() - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = time.monotonic()
        self._is_halted = not self._is_admitted()

    def _is_going_on(self) -> bool:
        if self._in_flight:
            return True
        is_over = time.monotonic() > self._ends_at or self._is_draining() or self._is_halted
        return self._snooze is None and not is_over

    def _may_send(self) -> bool:
        now = time.monotonic()
        return (
            self._snooze is None
            and now >= self._quota_at
            and self._in_flight < (1 if self._is_probe else IN_FLIGHT_MOST)
            and now < self._ends_at
            and not self._is_halted
            and not self._is_draining()
            and not self._senders.is_full(self._lane.account)
        )

    def _send_looks(self) -> None:
        for job_id, record in self._intake.jobs:
            if not self._may_send():
                return
            batch = imports.look_at(self._job(job_id, record))
            if self._has_quota(batch):
                self._intake.look_sent(job_id)
                self._send(batch, record, job_id)

    def _job(self, job_id: str, record: JobRecord) -> imports.Job:
        now = self._clock.now()
        if now - record.since > imports.LATE_SECONDS:
            logger.warning(
                "%s: the import job %s has not ended after %.0f minutes; Klaviyo's import page may"
                " tell why. %d commands wait for it",
                self._lane.name,
                job_id,
                (now - record.since) / 60,
                len(record.rows),
            )
        return imports.Job(job_id, record.parts(), now - record.since, now)

    def _send_alone(self) -> None:
        """Commands that go by themselves, so that they can harm no other."""
        for entry in self._intake.alone():
            for batch in self._plan([entry], is_idle=True):
                if not self._may_send() or not self._has_quota(batch):
                    return
                self._send_batch(batch)

    def _send_next_of_lineup(self) -> None:
        if self._in_flight or not self._may_send():
            return
        offered = self._suspicion.offer(self._intake.candidates())
        culprits = self._suspicion.culprits()
        if culprits:
            self._send_batch(decided(culprits))
        elif self._suspicion.outage:
            self._snooze = self._suspicion.outage
        else:
            for batch in self._plan(offered, is_idle=True)[:1]:
                if self._has_quota(batch):
                    self._send_batch(batch)

    def _look_for_strays(self) -> None:
        """Imports of an earlier turn may have become jobs: nothing goes out before they ended."""
        if self._in_flight or not self._may_send():
            return
        until = max(self._strays.values()) + REQUEST_SECONDS_MOST
        moment = strays.Moment(min(self._strays.values()), until)
        batch = strays.look_for(moment, self._intake.followed())
        if self._clock.now() - moment.since > imports.UNFINISHED_SECONDS:
            self._forget_strays()
        elif self._has_quota(batch):
            self._send(batch, None, "")

    def _forget_strays(self) -> None:
        self._lane.forget_imports(self._strays)
        self._strays = {}

    def _send_batches(self) -> None:
        if self._strays:
            self._look_for_strays()
            return
        if self._suspicion.is_searching:
            self._send_next_of_lineup()
        if self._suspicion.is_searching:
            return
        self._send_alone()
        while self._may_send() and self._intake.waiting:
            was_idle = self._in_flight == 0
            batches = self._plan(self._intake.together(), is_idle=was_idle)
            sent = 0
            for batch in batches:
                # While something is in flight the next batch grows, until it is full.
                if not self._may_send() or not (was_idle or batch.is_full):
                    break
                if not self._has_quota(batch):
                    break
                sent += 1
                if not self._send_batch(batch):
                    break  # the plan is void, and the next one goes on without the refused ones
            if sent == 0:
                return

    def _plan(self, entries: Sequence[Entry], *, is_idle: bool) -> list[Batch]:
        now = self._clock.now()
        situation = Situation(
            now=now,
            is_idle=is_idle,
            held=self._intake.held(),
            held_from_unsubscribe=self._intake.held_from_unsubscribe(),
            lists=self._accounts.lists(self._lane.account),
            singly=frozenset(self._intake.singly),
            facts=self._admission.facts(entries, now),
        )
        found: list[Batch] = self._choose(entries, situation)
        return found

    def _has_quota(self, batch: Batch) -> bool:
        if not batch.endpoint:
            return True
        wait = self._accounts.quota.reserve(
            self._lane.account, batch.endpoint, is_bulk_lane=self._is_bulk_lane
        )
        if wait:
            self._quota_wait = max(self._quota_wait, wait)
            # No use in planning again before: meanwhile the next batch grows.
            self._quota_at = time.monotonic() + min(wait, QUOTA_PATIENCE_SECONDS)
        return wait == 0

    def _send_batch(self, batch: Batch) -> bool:
        """Send, unless some of the commands may not be sent any more; returns whether it went."""
        if self._intake.refuse(batch, self._clock.now()):
            return False
        self._intake.sent(batch)
        self._send(batch, None, "")
        return True

    def _send(self, batch: Batch, record: JobRecord | None, job_id: str) -> None:
        self._in_flight += 1
        future = self._senders.submit(self._lane.account, self._courier.deliver, batch)
        future.add_done_callback(
            partial(lambda r, j, f: self._back.put((f.result(), r, j)), record, job_id)
        )

    def _wait_in_place(self) -> bool:
        """Nothing is in flight: whether it is worth waiting here for quota, or for a sender."""
        if self._intake.waiting and self._senders.is_full(self._lane.account):
            self._quota_wait = max(self._quota_wait, _LOOK_SECONDS)
        if self._snooze is not None or self._quota_wait == 0:
            return False
        if self._quota_wait > QUOTA_PATIENCE_SECONDS:
            self._snooze = Snooze(self._quota_wait, QUOTA)
            return False
        time.sleep(self._quota_wait)
        return True

    def _settle_returned(self) -> None:
        """Settle what is back; wait a little for it, as new commands may fill the next batch."""
        try:
            back = self._back.get(timeout=_LOOK_SECONDS) if self._in_flight else None
        except queue.Empty:
            return
        while back is not None:
            self._in_flight -= 1
            returned, record, job_id = back
            returned = self._suspicion.judge(returned)
            self._settle_patiently(returned, record, job_id)
            self._note(returned)
            try:
                back = self._back.get_nowait()
            except queue.Empty:
                back = None

    def _settle_patiently(self, returned: Returned, record: JobRecord | None, job_id: str) -> None:
        """Klaviyo has it already: while the lease lasts, a Redis that is away is asked again."""
        while True:
            try:
                return self._settle(returned, record, job_id)
            except (RedisConnectionError, RedisTimeoutError):
                if self._lease.remaining_seconds < _SETTLE_AGAIN_SECONDS:
                    raise
                time.sleep(_SETTLE_AGAIN_SECONDS)

    def _settle(self, returned: Returned, record: JobRecord | None, job_id: str) -> None:
        now = self._clock.now()
        batch, ledger = returned.batch, returned.ledger
        self._admission.settling(batch.entries, ledger.outcomes, now)
        if record is not None:
            ended = self._lane.settle_job(
                self._lease, job_id, record, ledger.outcomes, now, facts=ledger.facts
            )
            self._intake.look_returned(job_id, batch, ledger, has_ended=ended)
            return
        if batch.endpoint == limits.GET_IMPORT_JOBS:
            self._settle_look_for_strays(returned)
            return
        # Before the command leaves its lane: whoever waits for the id must find it.
        self._accounts.keep_created(self._lane.account, ledger.created)
        self._lane.settle(self._lease, batch.entries, ledger.outcomes, now, facts=ledger.facts)
        if returned.snooze is None or returned.snooze.is_certain:
            self._lane.forget_imports(ledger.imports)
        self._accounts.learn_lists(self._lane.account, ledger.lists)
        self._intake.returned(batch, ledger)

    def _settle_look_for_strays(self, returned: Returned) -> None:
        if returned.snooze is not None:
            return
        if returned.ledger.strays:
            detail = f"{returned.ledger.strays} unfinished jobs at Klaviyo may be ours"
            self._snooze = Snooze(STRAY_SECONDS, STRAY_JOB, detail=detail)
        else:
            self._forget_strays()

    def _note(self, returned: Returned) -> None:
        """What the answer says of Klaviyo: remember failures, forget them after a success."""
        snooze = returned.snooze
        if snooze is None:
            self._is_probe = self._is_probe and not returned.batch.endpoint
            if self._failures:
                self._failures = 0
                self._lane.recover()
            return
        if snooze.reason == LEASE:
            raise LeaseLostError(snooze.detail)
        if snooze.reason == UNAUTHORIZED:
            self._accounts.pause(self._lane.account, family_of(self._lane.lane), snooze)
        if self._snooze is None or snooze.seconds > self._snooze.seconds:
            self._snooze = snooze
