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

from klaviyo_relay.envelope import BULK_SUFFIX
from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.breaker import family_of
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.errors import TransportError
from klaviyo_relay_worker.judge import OUTAGE, interruption, no_answer
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.klaviyo.limits import BULK_IMPORT_PROFILES
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Snooze
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
QUOTA_PATIENCE_SECONDS = 3.0
# A reservation that is older than this when its request is about to be sent counts no more.
RESERVED_SECONDS = 0.5
LEASE = "lease"
QUOTA = "quota"
FAULT = "fault"
REDIS_AWAY, REDIS_AWAY_SECONDS = "redis_away", 0.5
DRAINING = "draining"


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
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._quota = accounts.quota
        self._breakers = accounts.breakers
        self._telemetry = telemetry
        self._account = lane.account
        self._lane = lane.lane
        self._family = family_of(lane.lane)
        self._is_bulk_lane = lane.lane.endswith(BULK_SUFFIX)
        self._notes = lane
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
            snooze = Snooze(REDIS_AWAY_SECONDS, REDIS_AWAY)
        except Exception:
            # An answer of a shape that nobody foresaw. The commands are safe; people must see it.
            logger.exception("the delivery of a batch to %s failed", batch.endpoint)
            seconds = backoff(self._failures + 1, random.random())  # noqa: S311 - spreads load
            snooze = Snooze(seconds, FAULT, is_failure=True)
        return Returned(batch, ledger, snooze)

    def _converse(
        self, conversation: Conversation, ledger: Ledger, traces: tuple[str, ...]
    ) -> Snooze | None:
        request = next(conversation, None)
        is_first = True
        reserved_at = time.monotonic()
        while request is not None:
            if not is_first and (self._is_stopped or self._is_draining()):
                return Snooze(0.0, DRAINING)
            # A process that was stopped for a while would send what was counted long ago.
            is_stale = time.monotonic() - reserved_at > RESERVED_SECONDS
            wait = None if is_first and not is_stale else self._await_quota(request)
            wait = wait or self._await_lease()
            if wait is not None:
                return wait
            if request.endpoint == BULK_IMPORT_PROFILES:
                ledger.imports.append(self._notes.note_import(self._clock.now()))
            answer = self._send(request, traces)
            if isinstance(answer, Snooze):
                return answer
            ledger.facts.learn(request, answer)
            is_first = False
            try:
                request = conversation.send(answer)
            except StopIteration:
                return None
        return None

    def _send(self, request: Request, traces: tuple[str, ...]) -> Answer | Snooze:
        began, began_at = time.monotonic(), time.time()
        status = 0
        answer: Answer | None = None
        try:
            answer = self._client.send(request)
        except TransportError as error:
            snooze: Snooze | None = no_answer(error, self._failures, random.random)
        else:
            status = answer.status
            snooze = interruption(answer, self._failures, random.random)
        self._telemetry.tell(
            DeliveryAttempted(
                account=self._account,
                lane=self._lane,
                endpoint=request.endpoint,
                items=request.items,
                status=status,
                seconds=time.monotonic() - began,
                outcome=snooze.reason if snooze else ANSWERED,
                began_at=began_at,
                host=self._client.host,
                port=self._client.port,
                traces=traces,
            )
        )
        self._tell(request, answer, snooze, began)
        if answer is None or snooze is not None:
            return snooze or Snooze(0.0, FAULT)
        return answer

    def _tell(
        self, request: Request, answer: Answer | None, snooze: Snooze | None, began: float
    ) -> None:
        """What the answer, or the lack of one, teaches all workers."""
        if snooze is not None and snooze.reason == OUTAGE:
            self._breakers.failed(self._account, self._family, began, snooze.seconds)
        elif snooze is None:
            self._breakers.succeeded(self._account, self._family, began)
        if answer is None:
            return
        if answer.status == 429 and snooze is not None:
            self._quota.throttled(self._account, request.endpoint, snooze.seconds)
        else:
            self._quota.learn(self._account, request.endpoint, answer.headers)

    def _await_quota(self, request: Request) -> Snooze | None:
        until = time.monotonic() + QUOTA_PATIENCE_SECONDS
        while wait := self._quota.reserve(
            self._account, request.endpoint, is_bulk_lane=self._is_bulk_lane
        ):
            if time.monotonic() + wait > until:
                return Snooze(wait, QUOTA)
            time.sleep(wait)
        return None

    def _await_lease(self) -> Snooze | None:
        """A request must be over before the lease is; the heartbeat renews it every second."""
        until = time.monotonic() + 2.0
        while self._lease.remaining_seconds < self._client.seconds:
            if time.monotonic() > until:
                return Snooze(0.0, LEASE, detail="the lease could not be renewed in time")
            time.sleep(0.05)
        return None


def traces_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Trace contexts of those who enqueued these commands, each once, as many as are told of."""
    found = dict.fromkeys(entry.envelope.trace for entry in entries)
    return tuple(islice((trace for trace in found if trace), TRACES_MOST))
