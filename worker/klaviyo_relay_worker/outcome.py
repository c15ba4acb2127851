"""Outcomes: what became of a command in one delivery. A closed union of frozen values.

    Delivered   Klaviyo accepted it
    Following   Klaviyo took it into an import job, which is followed to its end
    Parked      it waits on its own until a time; its lane goes on
    Dead        Klaviyo refused it for good, in its own words
    Dropped     one of our named rules says that it must not be sent

A command without an outcome stays in its lane. Why a whole lane waits is not an outcome but a
`Snooze`: it spends no attempt and says nothing of any command.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a command was refused.

    Attributes:
        status: HTTP status of Klaviyo's answer; 0 where Klaviyo was not asked.
        code, title, detail: Klaviyo's own words (JSON:API error object).
        pointer: the part of the body or the query at fault.
    """

    status: int = 0
    code: str = ""
    title: str = ""
    detail: str = ""
    pointer: str = ""


class Delivered(Struct, frozen=True):
    """Klaviyo accepted the command."""


class Following(Struct, frozen=True):
    """The command is a row of an import job.

    Attributes:
        job_id: Klaviyo's id of the job.
        row: the command's place in it, from 0; coalesced commands share one.
    """

    job_id: str
    row: int


class Parked(Struct, frozen=True):
    """The command waits on its own.

    Attributes:
        until: seconds since 1970.
        reason: why.
        failure: what Klaviyo answered, if that is the reason; it has then spent an attempt.
        is_alone: when its time has come it goes by itself, so that it can harm no other.
        paused_before: seconds that its lane had been paused when it was parked first.
        rank: its place, from 0, among commands that are parked together and keep their order.
    """

    until: float
    reason: Parking
    failure: Failure | None = None
    is_alone: bool = False
    paused_before: float = 0.0
    rank: int = 0


class Dead(Struct, frozen=True):
    """The command becomes a dead letter."""

    failure: Failure


class Dropped(Struct, frozen=True):
    """A rule of ours forbids to send the command.

    Attributes:
        rule: which one.
    """

    rule: Rule


Outcome = Delivered | Following | Parked | Dead | Dropped


class Rule(StrEnum):
    """The rules of ours that drop commands, as counters and `explain` show them."""

    SUPERSEDED = "superseded"
    NOT_ON_LIST = "not_on_list"
    NEWER_AT_KLAVIYO = "newer_at_klaviyo"
    FORGOTTEN = "forgotten"
    CAME_BACK = "came_back"
    # Given by settle.lua alone.
    DUPLICATE = "duplicate"


class Parking(StrEnum):
    """Why commands are parked."""

    UNKNOWN_LIST = "unknown_list"
    NOT_ON_LIST = "not_on_list"
    SERVER_ERROR = "server_error"
    ROW_REFUSED = "row_refused"
    AWAITS_DELETION = "awaits_deletion"
    IN_FLIGHT = "in_flight"
    CHECKED_AGAIN = "checked_again"


class Reason(StrEnum):
    """Why lanes wait."""

    # Klaviyo's.
    OUTAGE = "outage"
    THROTTLED = "throttled"
    UNAUTHORIZED = "unauthorized"
    MISCONFIGURED = "misconfigured"
    # Ours.
    QUOTA = "quota"
    STRAY_JOB = "stray_job"
    LEASE = "lease"
    DRAINING = "draining"
    REDIS_AWAY = "redis_away"
    FAULT = "fault"


class Effect(StrEnum):
    """What is known of a request that did not go as it should."""

    # Klaviyo has done nothing, and never will.
    NONE = "none"
    # Nobody knows what Klaviyo has done; it has ended the request.
    ENDED = "ended"
    # Nor whether Klaviyo is still at it.
    OPEN = "open"


class Snooze(Struct, frozen=True):
    """A lane waits: an outage, a rate limit, no quota. No attempt is spent.

    Attributes:
        seconds: how long.
        reason: why.
        is_failure: raises the lane's count of failures, by which it waits longer each time. (The
            breaker counts outages.)
        detail: for the log.
        status: HTTP status of Klaviyo's answer, or 0 if there was none.
        effect: of the request.
    """

    seconds: float
    reason: Reason
    is_failure: bool = False
    detail: str = ""
    status: int = 0
    effect: Effect = Effect.OPEN


def failures_of(status: int, document: Any) -> list[Failure]:
    """The failures in a JSON:API error document, or one that says only the status."""
    errors = document.get("errors") if isinstance(document, dict) else None
    found = [_failure(status, error) for error in errors or () if isinstance(error, dict)]
    return found or [Failure(status=status, title="Refused without a reason")]


def _failure(status: int, error: dict[str, Any]) -> Failure:
    source = error.get("source")
    source = source if isinstance(source, dict) else {}
    return Failure(
        status=status,
        code=str(error.get("code", "")),
        title=str(error.get("title", "")),
        detail=str(error.get("detail", ""))[:2000],
        pointer=str(source.get("pointer") or source.get("parameter") or ""),
    )
