"""The canonical events: a request to Klaviyo, and what became of commands.

Everything that is logged, counted or traced of a delivery is made from these two by a listener. A
listener that fails is logged and forgotten for that event: it never harms a delivery. It runs in
the thread that delivers, so it must not wait for anything.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from msgspec import Struct

from klaviyo_relay_worker.outcome import (
    Dead,
    Delivered,
    Dropped,
    Failure,
    Following,
    Outcome,
    Parked,
)

logger = logging.getLogger("klaviyo_relay_worker.delivery")

ANSWERED = "answered"
DELIVERED, FOLLOWING, PARKED, DEAD, DROPPED = "delivered", "following", "parked", "dead", "dropped"
# Of a longer batch only so many commands' callers are told of: a limit of OpenTelemetry's SDK
# (OTEL_SPAN_LINK_COUNT_LIMIT, 128 by default).
TRACES_MOST = 128
# Klaviyo's codes are such words; what is none could be anything, so it is not passed on.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
OTHER = "other"


class DeliveryAttempted(Struct, frozen=True, kw_only=True):
    """A request to Klaviyo and what came of it. Holds nothing private.

    Attributes:
        account, lane, endpoint: where it belongs.
        items: commands in it.
        status: HTTP status, or 0 without an answer.
        seconds: from sending to the end of the answer.
        outcome: answered, or the reason of the snooze that it caused.
        began_at: when it was sent, in seconds since 1970 by this machine's clock.
        host, port: where it was sent.
        traces: W3C traceparents of those who enqueued the batch's commands, each once, at most 128.
    """

    account: str
    lane: str
    endpoint: str
    items: int
    status: int
    seconds: float
    outcome: str
    began_at: float = 0.0
    host: str = ""
    port: int = 0
    traces: tuple[str, ...] = ()


class Settled(Struct, frozen=True, kw_only=True):
    """What became of commands: those of one settlement that ended alike. Holds nothing private.

    Attributes:
        account, lane: where they were.
        outcome: delivered, following, parked, dead or dropped.
        cause: Klaviyo's code of a dead letter, the rule of a drop, the reason of a parked command.
        commands: how many.
    """

    account: str
    lane: str
    outcome: str
    cause: str = ""
    commands: int = 1


Event = DeliveryAttempted | Settled
Listener = Callable[[Event], None]


def settled(account: str, lane: str, outcomes: Iterable[Outcome]) -> Iterator[Settled]:
    """The events of one settlement."""
    counts: Counter[tuple[str, str]] = Counter()
    # Those that were settled together share one object, which is most of a large batch.
    for one, alike in groupby(outcomes):
        counts[_words(one)] += sum(1 for _ in alike)
    for (outcome, cause), commands in counts.items():
        yield Settled(account=account, lane=lane, outcome=outcome, cause=cause, commands=commands)


def _words(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Delivered():
            return DELIVERED, ""
        case Following():
            return FOLLOWING, ""
        case Parked(reason=reason):
            return PARKED, reason
        case Dead(failure):
            return DEAD, _code(failure)
        case Dropped(rule):
            return DROPPED, rule


def _code(failure: Failure) -> str:
    if failure.code:
        return failure.code if _WORD.fullmatch(failure.code) else OTHER
    return f"http_{failure.status}" if failure.status else OTHER


class Telemetry:
    """Hands events to listeners."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def tell(self, event: Event) -> None:
        """Something happened."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("a telemetry listener failed")

    def settled(self, account: str, lane: str, outcomes: Iterable[Outcome]) -> None:
        """Commands were settled."""
        for event in settled(account, lane, outcomes):
            self.tell(event)
