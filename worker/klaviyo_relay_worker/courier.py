"""The courier: holds a batch's conversation with Klaviyo.

It reserves quota for each request after the first (the planner has reserved that one), checks the
lease just before sending, and ends the conversation when an answer speaks of Klaviyo rather than of
the commands. Whatever it could not settle stays in the lane.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from itertools import islice

from msgspec import Struct
from redis.exceptions import RedisError

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.errors import TransportError
from klaviyo_relay_worker.judge import interruption, no_answer
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.limits import BULK_IMPORT_PROFILES
from klaviyo_relay_worker.outcome import Effect, Reason, Snooze
from klaviyo_relay_worker.plan import strays
from klaviyo_relay_worker.plan.batch import Batch, Conversation, Entry, Ledger
from klaviyo_relay_worker.retry import backoff
from klaviyo_relay_worker.telemetry.event import (
    ANSWERED,
    TRACES_MOST,
    DeliveryAttempted,
    Telemetry,
)

logger = logging.getLogger("klaviyo_relay_worker.courier")

# A request in the middle of a conversation waits this long for quota, then the lane does.
MIDWAY_PATIENCE_SECONDS = 3.0
# A reservation that is older than this when its request is about to be sent counts no more.
RESERVED_SECONDS = 0.5
REDIS_AWAY_SECONDS = 0.5


class Returned(Struct, frozen=True):
    """A conversation that is over.

    Attributes:
        batch: what was to be delivered.
        ledger: what became of it; commands without an outcome stay where they are.
        snooze: why the lane must wait, or None.
    """

    batch: Batch
    ledger: Ledger
    snooze: Snooze | None


class Courier:
    """Delivers batches of one lane.

    Args:
        clock: Redis's time.
        failures: outages of the lane in a row before this turn.
        is_draining: asked between two requests; true ends the conversation there.
    """

    def __init__(
        self,
        client: KlaviyoClient,
        accounts: Accounts,
        telemetry: Telemetry,
        lane: Lane,
        lease: Lease,
        *,
        clock: Clock,
        failures: int,
        is_draining: Callable[[], bool],
    ) -> None:
        self._client = client
        self._quota = accounts.quota
        self._breakers = accounts.breakers
        self._telemetry = telemetry
        self._lane = lane
        self._lease = lease
        self._clock = clock
        self._failures = failures
        self._is_draining = is_draining
        self._is_stopped = False

    def stop(self) -> None:
        """Conversations under way end after their request."""
        self._is_stopped = True

    def deliver(self, batch: Batch) -> Returned:
        """Hold the whole conversation; never raises, so that nothing is left without a word."""
        ledger = Ledger()
        try:
            traces = traces_of(batch.entries)
            snooze = self._converse(batch.converse(ledger), ledger, traces)
        except RedisError as error:
            logger.warning("Redis is away in the middle of a conversation: %s", error)
            snooze = Snooze(REDIS_AWAY_SECONDS, Reason.REDIS_AWAY)
        except Exception:
            # An answer of a shape that nobody foresaw. The commands are safe; people must see it.
            logger.exception("the delivery of a batch to %s failed", batch.endpoint)
            seconds = backoff(self._failures + 1, random.random())  # noqa: S311 - spreads load
            snooze = Snooze(seconds, Reason.FAULT, is_failure=True)
        return Returned(batch, ledger, snooze)

    def _converse(
        self, conversation: Conversation, ledger: Ledger, traces: tuple[str, ...]
    ) -> Snooze | None:
        request = next(conversation, None)
        reserved_at: float | None = time.monotonic()
        while request is not None:
            hindrance = self._await_leave(request, reserved_at)
            if hindrance is not None:
                return hindrance
            self._note_import(request, ledger)
            answer = self._send(request, traces)
            if isinstance(answer, Snooze):
                self._learn_effect(answer.effect, ledger)
                return answer
            ledger.facts.learn(request, answer)
            request = _following(conversation, answer)
            # Not before the conversation has made sense of the answer.
            ledger.know_imports()
            reserved_at = None
        return None

    def _await_leave(self, request: Request, reserved_at: float | None) -> Snooze | None:
        """Why a request may not be sent, or None once it may.

        Args:
            reserved_at: when the quota of a batch's first request was reserved, in monotonic
                seconds; None for all later requests.
        """
        if reserved_at is None and (self._is_stopped or self._is_draining()):
            return Snooze(0.0, Reason.DRAINING)
        # A process that was stopped for a while would send what was counted long ago.
        is_reserved = reserved_at is not None and time.monotonic() - reserved_at <= RESERVED_SECONDS
        wait = None if is_reserved else self._await_quota(request)
        return wait or self._await_lease()

    def _note_import(self, request: Request, ledger: Ledger) -> None:
        if request.endpoint == BULK_IMPORT_PROFILES:
            now = self._clock.now()
            ledger.unsure[self._lane.note_import(now)] = now

    def _learn_effect(self, effect: Effect, ledger: Ledger) -> None:
        if effect is Effect.NONE:
            ledger.know_imports()
        elif effect is Effect.ENDED:
            # A job that it made is there by now: nobody need wait for it to appear.
            for name, when in ledger.unsure.items():
                ledger.unsure[name] = when - strays.APPEARS_SECONDS
                self._lane.date_import(name, ledger.unsure[name])

    def _send(self, request: Request, traces: tuple[str, ...]) -> Answer | Snooze:
        """Klaviyo's answer, or why the lane must wait where it says nothing of the commands."""
        began, began_at = time.monotonic(), time.time()
        answer: Answer | None = None
        found: Answer | Snooze
        try:
            answer = self._client.send(request)
            found = interruption(answer, self._failures, random.random) or answer
        except TransportError as error:
            found = no_answer(error, self._failures, random.random)
        self._telemetry.tell(
            DeliveryAttempted(
                account=self._lane.account,
                lane=self._lane.lane,
                endpoint=request.endpoint,
                items=request.items,
                status=0 if answer is None else answer.status,
                seconds=time.monotonic() - began,
                outcome=found.reason if isinstance(found, Snooze) else ANSWERED,
                began_at=began_at,
                host=self._client.host,
                port=self._client.port,
                traces=traces,
            )
        )
        self._teach(request, answer, found if isinstance(found, Snooze) else None, began)
        return found

    def _teach(
        self, request: Request, answer: Answer | None, snooze: Snooze | None, began: float
    ) -> None:
        """Tell all workers what the answer, or the lack of one, shows; as far as Redis is there.

        Klaviyo's word on the commands is worth more, and must not be lost for it.
        """
        try:
            self._teach_breakers(snooze, began)
            if answer is not None:
                self._teach_quota(request, answer, snooze)
        except RedisError as error:
            logger.warning("Redis is away, other workers do not learn of an answer: %s", error)

    def _teach_breakers(self, snooze: Snooze | None, began: float) -> None:
        account, family = self._lane.account, self._lane.family
        if snooze is None:
            self._breakers.succeeded(account, family, began)
        elif snooze.reason == Reason.OUTAGE:
            self._breakers.failed(account, family, began, snooze.seconds)

    def _teach_quota(self, request: Request, answer: Answer, snooze: Snooze | None) -> None:
        account = self._lane.account
        if answer.status == 429 and snooze is not None:
            self._quota.throttled(account, request.endpoint, snooze.seconds)
        else:
            self._quota.learn(account, request.endpoint, answer.headers)

    def _await_quota(self, request: Request) -> Snooze | None:
        until = time.monotonic() + MIDWAY_PATIENCE_SECONDS
        while wait := self._quota.reserve(
            self._lane.account, request.endpoint, is_bulk_lane=self._lane.is_bulk
        ):
            if time.monotonic() + wait > until:
                return Snooze(wait, Reason.QUOTA)
            time.sleep(wait)
        return None

    def _await_lease(self) -> Snooze | None:
        """A request must be over before the lease is; the heartbeat renews it every second."""
        until = time.monotonic() + 2.0
        while self._lease.remaining_seconds < self._client.seconds:
            if time.monotonic() > until:
                return Snooze(0.0, Reason.LEASE, detail="the lease could not be renewed in time")
            time.sleep(0.05)
        return None


def _following(conversation: Conversation, answer: Answer) -> Request | None:
    try:
        return conversation.send(answer)
    except StopIteration:
        return None


def traces_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Trace contexts of those who enqueued these commands, each once, as many as are told of."""
    found = dict.fromkeys(entry.envelope.trace for entry in entries)
    return tuple(islice((trace for trace in found if trace), TRACES_MOST))
