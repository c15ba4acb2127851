"""A dead letter without its payload, as the command line shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from klaviyo_relay_worker.cli.plain_text import plain
from klaviyo_relay_worker.dead_letters import DeadLetter

COLUMNS = (
    "id",
    "lane",
    "verb",
    "dead_at",
    "attempts",
    "status",
    "code",
    "title",
    "detail",
    "pointer",
)


def summary(one: DeadLetter) -> dict[str, Any]:
    """Its columns; those of the reason only as far as Klaviyo gave them."""
    return {
        "id": one.id,
        "lane": one.lane,
        "verb": one.verb,
        "dead_at": _time(one),
        "attempts": one.attempts,
        **msgspec.to_builtins(one.failure),
    }


def line(one: DeadLetter) -> str:
    """One line for people."""
    failure = one.failure
    reason = plain(f"{failure.code}: {failure.detail or failure.title}")
    place = f"{plain(one.id)}  {_time(one)}  {one.lane:20} {plain(one.verb):18}"
    return f"{place} {failure.status or '-':>3} {reason}"


def _time(one: DeadLetter) -> str:
    return datetime.fromtimestamp(one.dead_at, UTC).isoformat(timespec="seconds")
