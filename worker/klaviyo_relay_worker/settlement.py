"""The settlement: what became of commands, as the records and arguments that `settle.lua` takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from klaviyo_relay.envelope import Received, check_version
from klaviyo_relay_worker import dead_letters
from klaviyo_relay_worker.dead_letters import UNREADABLE
from klaviyo_relay_worker.journal import note
from klaviyo_relay_worker.outcome import (
    Dead,
    Delivered,
    Dropped,
    Failure,
    Following,
    Outcome,
    Parked,
    Parking,
    Rule,
)
from klaviyo_relay_worker.plan.batch import Entry, Facts
from klaviyo_relay_worker.plan.places import parked_key, row_key

# How soon an import job is looked at, and how that grows with its age.
FIRST_LOOK_SECONDS, LATER_LOOK_SHARE, MOST_LOOK_SECONDS = 0.5, 0.25, 30.0
# How soon what this release cannot read is looked at again: another worker may be of one that can.
FOREIGN_AGAIN_SECONDS = 3_600.0
_encode = msgspec.json.Encoder().encode


class ParkedRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A parked command as it is stored.

    Attributes:
        reason: why it waits.
        attempts: how many Klaviyo has refused.
        since: when it was parked first, in seconds since 1970.
        is_redriven, is_alone, paused_before, rank: as in `Entry`.
    """

    envelope: Received
    reason: str
    attempts: int = 0
    since: float = 0.0
    is_redriven: bool = False
    is_alone: bool = False
    paused_before: float = 0.0
    rank: int = 0

    def entry(self) -> Entry:
        """The command as a planner takes it."""
        return Entry(
            key=parked_key(self.envelope.id),
            envelope=self.envelope,
            size=0,
            attempts=self.attempts,
            is_redriven=self.is_redriven,
            parked_at=self.since,
            is_alone=self.is_alone,
            paused_before=self.paused_before,
            rank=self.rank,
        )


class JobRow(Struct, frozen=True, array_like=True):
    """A command in an import job: its row there, what it is, and its attempts so far."""

    row: int
    envelope: Received
    attempts: int = 0
    is_redriven: bool = False

    def entry(self) -> Entry:
        """The command as a planner takes it."""
        return Entry(
            key=row_key(self.envelope.id),
            envelope=self.envelope,
            size=0,
            attempts=self.attempts,
            is_redriven=self.is_redriven,
        )


class JobRecord(Struct, frozen=True):
    """An import job being followed.

    Attributes:
        since: seconds since 1970.
        rows: its commands; the last member, because `settle.lua` adds to it.
    """

    since: float
    rows: Annotated[list[JobRow], Meta(min_length=1)]

    def parts(self) -> list[list[Entry]]:
        """The entries of each row, in the rows' order."""
        found: list[list[Entry]] = [[] for _ in range(1 + max(row.row for row in self.rows))]
        for row in self.rows:
            found[row.row].append(row.entry())
        return found


class _JobOutline(Struct, frozen=True):
    since: float


class ParkedOutline(Struct, frozen=True):
    """A parked command as far as any release can read it; see `ParkedRecord`."""

    envelope: msgspec.Raw
    reason: str = "unreadable"
    attempts: int = 0
    since: float = 0.0


_decode_parked = msgspec.json.Decoder(ParkedRecord).decode
_decode_job = msgspec.json.Decoder(JobRecord).decode
_decode_outline = msgspec.json.Decoder(ParkedOutline).decode
_decode_job_outline = msgspec.json.Decoder(_JobOutline).decode


def decode_parked(stored: bytes) -> ParkedRecord:
    """A parked command.

    Raises:
        UNREADABLE: this release cannot read it.
    """
    record = _decode_parked(stored)
    check_version(record.envelope)
    return record


def decode_job(stored: bytes) -> JobRecord:
    """An import job.

    Raises:
        UNREADABLE: this release cannot read it.
    """
    record = _decode_job(stored)
    for row in record.rows:
        check_version(row.envelope)
    return record


def read_parked(stored: bytes) -> ParkedRecord | None:
    """A parked command, or None for what another release has written and this one cannot read."""
    try:
        return decode_parked(stored)
    except UNREADABLE:
        return None


def read_job(stored: bytes) -> JobRecord | None:
    """The same for an import job."""
    try:
        return decode_job(stored)
    except UNREADABLE:
        return None


def since_of_job(stored: bytes) -> float:
    """Since when a job is followed, in seconds since 1970; 0 where that cannot be told, either."""
    try:
        return _decode_job_outline(stored).since
    except UNREADABLE:
        return 0.0


def outline_of(stored: bytes) -> ParkedOutline:
    """What can be told of a parked command in any case."""
    try:
        return _decode_outline(stored)
    except UNREADABLE:
        return ParkedOutline(msgspec.Raw(stored))


def operations(
    lane: str, settled: Iterable[tuple[Entry, Outcome]], now: float, facts: Facts
) -> list[Any]:
    """The script's arguments: many commands with one outcome are one operation.

    Args:
        lane: `account:lane`.
        settled: commands with their outcomes.
        now: seconds since 1970.
        facts: for the journal.
    """
    arguments: list[Any] = []
    delivered: list[Entry] = []
    dropped: dict[Rule, list[Entry]] = {}
    jobs: dict[str, list[tuple[Entry, int]]] = {}
    for entry, outcome in settled:
        match outcome:
            case Delivered():
                delivered.append(entry)
            case Dropped(rule):
                dropped.setdefault(rule, []).append(entry)
            case Dead(failure):
                arguments += _bury(lane, entry, failure, now, facts)
            case Parked():
                arguments += _park(entry, outcome, now, facts)
            case Following(job_id, row):
                jobs.setdefault(job_id, []).append((entry, row))
    if delivered:
        arguments += ["delivered", note(facts.accepted), *_counted_keys(delivered)]
    for rule, entries in dropped.items():
        arguments += ["dropped", rule, note(rule=rule), *_counted_keys(entries)]
    for job_id, members in jobs.items():
        arguments += _follow(job_id, members, now, facts)
    return arguments


def _counted_keys(entries: Sequence[Entry]) -> list[Any]:
    return [len(entries), *(entry.key for entry in entries)]


def _bury(lane: str, entry: Entry, failure: Failure, now: float, facts: Facts) -> list[Any]:
    attempts = entry.attempts + 1
    letter = dead_letters.letter(lane, entry.envelope, failure, now=now, attempts=attempts)
    why = _note_of_refusal(facts, failure, attempts=attempts)
    return ["dead", entry.key, entry.envelope.id, letter, why]


def bury_unreadable(lane: str, broken: Iterable[tuple[str, bytes, str]], now: float) -> list[Any]:
    """The same for messages that are no envelopes, as (key, message, why)."""
    arguments: list[Any] = []
    for key, message, why in broken:
        identity = f"unreadable-{key}"
        letter = dead_letters.unreadable(lane, identity, message, why, now=now)
        arguments += ["dead", key, identity, letter, note(code="unreadable", renamed=identity)]
    return arguments


def bury_parked(lane: str, name: str, stored: bytes, why: str, now: float) -> list[Any]:
    """The same for a parked command, by its id, that this release cannot read."""
    message = bytes(outline_of(stored).envelope)
    letter = dead_letters.unreadable(lane, name, message, why, now=now)
    return ["dead", parked_key(name), name, letter, note(code="unreadable")]


def postpone(name: str, until: float) -> list[Any]:
    """The look at a place of the lane (`plan.places`), until a time in seconds since 1970."""
    return ["postponed", name, int(until * 1000)]


def _park(entry: Entry, outcome: Parked, now: float, facts: Facts) -> list[Any]:
    failure = outcome.failure
    record = ParkedRecord(
        envelope=entry.envelope,
        reason=outcome.reason,
        attempts=entry.attempts + (failure is not None),
        since=entry.parked_at or now,
        # Klaviyo has taken it since it was sent back: it is checked, and not asked for again.
        is_redriven=entry.is_redriven and outcome.reason != Parking.CHECKED_AGAIN,
        is_alone=outcome.is_alone,
        paused_before=outcome.paused_before,
        rank=outcome.rank or entry.rank,
    )
    why = note(reason=outcome.reason)
    if failure is not None:
        why = _note_of_refusal(facts, failure, reason=outcome.reason, attempts=record.attempts)
    due = int(outcome.until * 1000)
    return ["parked", entry.key, entry.envelope.id, _encode(record), due, why]


def _follow(
    job_id: str, members: Sequence[tuple[Entry, int]], now: float, facts: Facts
) -> list[Any]:
    due = int((now + FIRST_LOOK_SECONDS) * 1000)
    head = _encode(JobRecord(now, []))
    why = note(facts.accepted, job=job_id)
    arguments: list[Any] = ["following", job_id, head, due, why, len(members)]
    for one, row in members:
        arguments.append(one.key)
        arguments.append(_encode(JobRow(row, one.envelope, one.attempts, one.is_redriven)))
    return arguments


def _note_of_refusal(facts: Facts, failure: Failure, **more: Any) -> bytes:
    """Klaviyo's words are left to the dead letter: they may quote what is private."""
    return note(facts.refused, **more, status=failure.status, code=failure.code)


def next_look(since: float, now: float) -> float:
    """When to look at a job again, in seconds since 1970: soon if it is young, later if old."""
    wait = max(FIRST_LOOK_SECONDS, (now - since) * LATER_LOOK_SHARE)
    return now + min(MOST_LOOK_SECONDS, wait)
