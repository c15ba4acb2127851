"""Telemetry: one canonical event for each request to Klaviyo; logs are a listener of it.

A listener that fails is logged and forgotten for that event: it never harms a delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct

logger = logging.getLogger("klaviyo_relay_worker.delivery")


class DeliveryAttempted(Struct, frozen=True):
    """A request to Klaviyo and what came of it. Holds nothing private.

    Attributes:
        account, lane, endpoint: where it belongs.
        items: commands in it.
        status: HTTP status, or 0 without an answer.
        seconds: from sending to the end of the answer.
        outcome: answered, or the reason of the snooze that it caused.
    """

    account: str
    lane: str
    endpoint: str
    items: int
    status: int
    seconds: float
    outcome: str


Listener = Callable[[DeliveryAttempted], None]


def log(event: DeliveryAttempted) -> None:
    """One line for people, with stable keys for machines beside it."""
    level = logging.INFO if event.outcome == "answered" else logging.WARNING
    logger.log(
        level,
        "delivery.attempted %s:%s %s items=%d status=%d seconds=%.3f %s",
        event.account,
        event.lane,
        event.endpoint,
        event.items,
        event.status,
        event.seconds,
        event.outcome,
        extra={"action": "delivery.attempted"},
    )


class Telemetry:
    """Hands events to listeners."""

    def __init__(self, listeners: tuple[Listener, ...] = (log,)) -> None:
        self._listeners = listeners

    def attempted(self, event: DeliveryAttempted) -> None:
        """A request was made."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logger.exception("a telemetry listener failed")
