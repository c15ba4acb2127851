"""Explanation: all that is known of one command, as `klaviyo-relay explain --json` prints it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from klaviyo_relay_worker.outcome import Failure

# The verb of a command that cannot be read.
UNREAD_VERB = "?"


class Place(Struct, kw_only=True, omit_defaults=True, tag_field="place"):
    """Where a command is.

    Attributes:
        lane: `account:lane`.
        verb: what is asked; "?" where the message cannot be read.
        since: since when it is there.
        state: of the lane: `paused_because`, `waits_for`, `breaker`, `in_delivery`, as in `status`.
        payload: the command as it is stored, if it was asked for; private.
    """

    lane: str
    verb: str
    since: datetime
    state: dict[str, Any] | None = None
    payload: msgspec.Raw | None = None


class InSpool(Place, kw_only=True, tag="spool"):
    """In a file of this machine.

    Attributes:
        file: its name.
        row: its number there.
        is_shipped: Redis has it, too; None where Redis does not answer.
        is_orphaned: no process holds the file; the next one, or `spool flush`, ships it.
    """

    file: str
    row: int
    is_shipped: bool | None
    is_orphaned: bool


class InBacklog(Place, kw_only=True, tag="backlog"):
    """In its lane.

    Attributes:
        key: in the stream.
        before: how many commands stand before it; None if they are more than we count.
    """

    key: str
    before: int | None


class Waiting(Place, kw_only=True, tag="parked"):
    """Parked; `reason`, `attempts` as in `ParkedRecord`; `until` is when it is tried again."""

    until: datetime | None
    reason: str
    attempts: int


class InJob(Place, kw_only=True, tag="following"):
    """A row of an import job, which is looked at again at `until`.

    The row is None where the job's record cannot be read by this release.
    """

    job: str
    row: int | None
    until: datetime | None


class Letter(Place, kw_only=True, tag="dead"):
    """A dead letter under the name `id`; `failure` holds Klaviyo's words."""

    id: str
    attempts: int
    failure: Failure


class Note(Struct, omit_defaults=True):
    """The note of a record of the journal, see `journal.note`."""

    endpoint: str = ""
    status: int = 0
    code: str = ""
    rule: str = ""
    reason: str = ""
    job: str = ""
    attempts: int = 0
    renamed: str = ""


class Record(Struct, omit_defaults=True):
    """What happened to a command.

    Attributes:
        at: when.
        lane: `account:lane`.
        what: delivered, dropped, dead, parked, following, redriven or discarded.
        others: how many commands it happened to in the same step.
        note: Klaviyo's answer and further facts.
        meaning: of the rule, if it was dropped.
    """

    at: datetime
    lane: str
    what: str
    others: int
    note: Note
    meaning: str = ""


class Explanation(Struct):
    """All that is known of a command.

    Attributes:
        id: of the command.
        enqueued_at: by the id itself, if it tells the time.
        places: where it is; usually one, or none if it is settled.
        journal: what happened to it, oldest first.
        spool_files: how many files of this machine were looked at.
        unreadable_files: how many could not be, because they are another user's.
        lanes: those that were looked at, each with the time from which on its journal tells.
        redis: "" or why Redis was not asked.
        created_list: the id of the list that it made or found, if it was a create_list.
    """

    id: str
    enqueued_at: datetime | None
    places: list[Place] = field(default_factory=list)
    journal: list[Record] = field(default_factory=list)
    spool_files: int = 0
    unreadable_files: int = 0
    lanes: dict[str, datetime | None] = field(default_factory=dict)
    redis: str = ""
    created_list: str = ""

    @property
    def is_known(self) -> bool:
        """Whether anything was found."""
        return bool(self.places or self.journal)
