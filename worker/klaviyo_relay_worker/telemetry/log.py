"""The listener that logs: a line for people, with the same as stable keys for machines."""

from __future__ import annotations

import logging
from typing import Any

from msgspec.structs import asdict

from klaviyo_relay_worker.telemetry.event import (
    ANSWERED,
    DEAD,
    DELIVERED,
    FOLLOWING,
    DeliveryAttempted,
    Event,
    Settled,
)

# The name is older than this module, and people filter by it.
logger = logging.getLogger("klaviyo_relay_worker.delivery")

ATTEMPTED, SETTLED = "delivery.attempted", "delivery.settled"
ATTEMPTED_KEYS = ("account", "lane", "endpoint", "items", "status", "seconds", "outcome")
SETTLED_KEYS = ("account", "lane", "outcome", "cause", "commands")
# What a log line may have beside its text; see `log_form`.
KEYS = ("action", *dict.fromkeys((*ATTEMPTED_KEYS, *SETTLED_KEYS)))


def log(event: Event) -> None:
    """Log an event."""
    if isinstance(event, DeliveryAttempted):
        _log_attempted(event)
    else:
        _log_settled(event)


def _log_attempted(event: DeliveryAttempted) -> None:
    level = logging.INFO if event.outcome == ANSWERED else logging.WARNING
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
        extra=_extra(event, ATTEMPTED, ATTEMPTED_KEYS),
    )


# Of what went well the request's own line has said enough.
_LEVELS = {DELIVERED: logging.DEBUG, FOLLOWING: logging.DEBUG, DEAD: logging.WARNING}


def _log_settled(event: Settled) -> None:
    logger.log(
        _LEVELS.get(event.outcome, logging.INFO),
        "delivery.settled %s:%s commands=%d %s %s",
        event.account,
        event.lane,
        event.commands,
        event.outcome,
        event.cause,
        extra=_extra(event, SETTLED, SETTLED_KEYS),
    )


def _extra(event: Event, action: str, keys: tuple[str, ...]) -> dict[str, Any]:
    values = asdict(event)
    if "seconds" in values:
        values["seconds"] = round(values["seconds"], 3)
    return {"action": action, **{name: values[name] for name in keys}}
