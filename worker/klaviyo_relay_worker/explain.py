"""Explain: where a command is, and what happened to it, by its id.

A command has one place: a spool file of this machine, its lane's backlog, the parked ones, an
import job, or the dead letters. (A row that was shipped stays in its file for a moment.) What
happened to it is in its lane's journal, as far back as that goes.

The places are looked at in the order in which a command goes through them, so one that moves
meanwhile is not missed. Payloads are private, and only given to who asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.envelope import receive
from klaviyo_relay.keys import LaneKeys, split
from klaviyo_relay.marks import Marks
from klaviyo_relay.scripts import script_of
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.dead_letters import stored_letter, verb_of
from klaviyo_relay_worker.explanation import (
    UNREAD_VERB,
    Explanation,
    InBacklog,
    InJob,
    Letter,
    Note,
    Place,
    Record,
    Waiting,
)
from klaviyo_relay_worker.fingerprints import digest_of, split_digests
from klaviyo_relay_worker.outcome import Rule
from klaviyo_relay_worker.plan.places import job_key
from klaviyo_relay_worker.settlement import outline_of, read_job, since_of_job
from klaviyo_relay_worker.spool_search import look
from klaviyo_relay_worker.status import Status

RULES: dict[str, str] = {
    Rule.SUPERSEDED: "a later command of yours takes back all that this one asked for",
    Rule.NOT_ON_LIST: "an unsubscribe from a list that the person was not on, and did not come onto"
    " within half an hour",
    Rule.NEWER_AT_KLAVIYO: "a late subscribe; at Klaviyo the person has withdrawn consent since",
    Rule.FORGOTTEN: "a deletion of the person was enqueued after it",
    Rule.CAME_BACK: "a deletion that Klaviyo had been asked for already; sent again it would take"
    " what has come in of the person since",
    Rule.DUPLICATE: "the command came in twice, and is parked or a dead letter already",
}
"""What each rule that drops commands means; `dropped_by_rule` counts by these names."""

# An id tells the time of its producer's clock, the keys of a stream that of Redis's.
CLOCKS_DIFFER_MS = 3_600_000
_UUID_WITH_TIME = 7
_PAGE, _PAGE_BYTES = 1_000, 8_000_000
# Whoever has more commands before it is told so, and no number.
BEFORE_MOST = 10_000
_STATE = ("paused_because", "waits_for", "breaker", "in_delivery")

_decode_note = msgspec.json.Decoder(Note).decode
_encode = msgspec.json.Encoder().encode


class Explainer:
    """Looks for commands on this machine and in one Redis.

    Args:
        redis: the server with the lanes; it may be away.
        settings: where the spool is, and how the keys are named.
        with_payload: give the commands themselves, too.
    """

    def __init__(self, redis: Redis, settings: Settings, *, with_payload: bool = False) -> None:
        self._redis = redis
        self._settings = settings
        self._with_payload = with_payload
        self._status = Status(redis, settings.keys)
        self._find: Any = redis.register_script(script_of("klaviyo_relay_worker", "find"))

    def explain(self, identity: str) -> Explanation:
        """Everything about a command; without Redis only what this machine's disk tells."""
        found = Explanation(identity, _enqueued_at(identity))
        marks: Marks | None = Marks(self._redis, self._settings.keys)
        try:
            self._redis.ping()
        except RedisError as error:
            found.redis, marks = str(error), None
        for places in look(identity, self._settings, marks, with_payload=self._with_payload):
            if places is None:
                found.unreadable_files += 1
            else:
                found.spool_files += 1
                found.places += places
        if marks is not None:
            self._ask_lanes(found)
        return found

    def _ask_lanes(self, found: Explanation) -> None:
        for name in self._status.lanes():
            keys = self._settings.keys.lane(*split(name))
            found.places += self._places(keys, found.id)
            records = self._records(keys, found.id)
            for renamed in {one.note.renamed for one in records} - {"", found.id}:
                found.places += self._dead(keys, renamed)
            found.journal += records
            found.lanes[name] = self._first_at(keys.journal)
        found.journal.sort(key=lambda record: record.at)
        found.created_list = self._created_list(found)

    def _places(self, keys: LaneKeys, identity: str) -> list[Place]:
        """In the order in which a command goes through them."""
        looks = (self._backlog, self._parked, self._following, self._dead)
        found: list[Place] = [place for each in looks for place in each(keys, identity)]
        for place in found:
            if not isinstance(place, Letter):
                place.state = self._state(keys.name)
        return found

    def _created_list(self, found: Explanation) -> str:
        for account in {split(name)[0] for name in found.lanes}:
            identity: Any = self._redis.get(self._settings.keys.created(account, found.id))
            if identity is not None:
                return str(identity, "ascii")
        return ""

    def _backlog(self, keys: LaneKeys, identity: str) -> Iterator[Place]:
        hits = self._first_found(keys.stream, "command", identity, milliseconds_of(identity))
        for key, message in hits:
            yield InBacklog(
                lane=keys.name,
                verb=_verb(message),
                since=_time_of(key),
                payload=self._payload(message),
                key=key.decode(),
                before=self._before(keys.stream, identity, key.decode()),
            )

    def _before(self, stream: str, identity: str, key: str) -> int | None:
        count = 0
        for seen, hits in self._pages(stream, "command", identity, "-", key):
            count += seen
            if hits:
                return count - 1
            if count > BEFORE_MOST:
                return None
        return count

    def _parked(self, keys: LaneKeys, identity: str) -> Iterator[Place]:
        stored: Any = self._redis.hget(keys.parked, identity)
        if stored is not None:
            # Also of what only another release can read.
            record = outline_of(stored)
            yield Waiting(
                lane=keys.name,
                verb=_verb(bytes(record.envelope)),
                since=_moment(record.since * 1000),
                payload=self._payload(bytes(record.envelope)),
                until=self._due(keys, identity),
                reason=record.reason,
                attempts=record.attempts,
            )

    def _following(self, keys: LaneKeys, identity: str) -> Iterator[Place]:
        digest = digest_of(identity.encode())
        for job, digests in self._redis.hscan_iter(keys.rows, count=1):
            stored: Any = None
            if digest in split_digests(digests.decode()):
                stored = self._redis.hget(keys.following, job)
            if stored is not None:
                yield from self._rows(keys, job.decode(), stored, identity)

    def _rows(self, keys: LaneKeys, job: str, stored: bytes, identity: str) -> Iterator[Place]:
        record = read_job(stored)
        if record is None:
            yield self._unread_row(keys, job, stored)
            return
        for row in record.rows:
            if row.envelope.id == identity:
                yield InJob(
                    lane=keys.name,
                    verb=verb_of(row.envelope),
                    since=_moment(record.since * 1000),
                    payload=self._payload(_encode(row.envelope)),
                    job=job,
                    row=row.row,
                    until=self._due(keys, job_key(job)),
                )

    def _unread_row(self, keys: LaneKeys, job: str, stored: bytes) -> InJob:
        """A row of a job that only another release can read: which one it is cannot be told."""
        return InJob(
            lane=keys.name,
            verb=UNREAD_VERB,
            since=_moment(since_of_job(stored) * 1000),
            payload=None,
            job=job,
            row=None,
            until=self._due(keys, job_key(job)),
        )

    def _dead(self, keys: LaneKeys, identity: str) -> Iterator[Place]:
        stored: Any = self._redis.hget(keys.dead, identity)
        if stored is not None:
            letter = stored_letter(keys.name, identity, stored)
            yield Letter(
                lane=keys.name,
                verb=letter.verb,
                since=_moment(letter.dead_at * 1000),
                payload=self._payload(_encode(letter.envelope or letter.message)),
                id=letter.id,
                attempts=letter.attempts,
                failure=letter.failure,
            )

    def _records(self, keys: LaneKeys, identity: str) -> list[Record]:
        digest, since = digest_of(identity.encode()), milliseconds_of(identity)
        hits = self._first_found(keys.journal, "record", digest, since)
        return [_record(keys.name, *hit) for hit in hits]

    def _first_found(self, stream: str, what: str, wanted: str, since: int | None) -> list[Any]:
        """What the newer part of a stream has of a command, or else the older one."""
        for first, last in _spans(since):
            pages = self._pages(stream, what, wanted, first, last)
            found = [hit for _, hits in pages for hit in hits]
            if found:
                return found
        return []

    def _pages(
        self, stream: str, what: str, wanted: str, first: str, last: str
    ) -> Iterator[tuple[int, list[Any]]]:
        """Entries seen and what was found among them, page by page."""
        start = first
        while start:
            behind, seen, hits = self._find(
                keys=[stream], args=[what, wanted, start, last, _PAGE, _PAGE_BYTES]
            )
            yield seen, hits
            start = f"({behind.decode()}" if behind else ""

    def _first_at(self, journal: str) -> datetime | None:
        first: Any = self._redis.xrange(journal, count=1)
        return _time_of(first[0][0]) if first else None

    def _due(self, keys: LaneKeys, name: str) -> datetime | None:
        due: Any = self._redis.zscore(keys.due, name)
        return None if due is None else _moment(due)

    def _state(self, lane: str) -> dict[str, Any]:
        numbers = self._status.lane(*split(lane))
        return {name: numbers[name] for name in _STATE}

    def _payload(self, message: bytes) -> msgspec.Raw | None:
        return msgspec.Raw(message) if self._with_payload else None


def milliseconds_of(identity: str) -> int | None:
    """The time in an id, in milliseconds since 1970; None if it is no UUIDv7 (RFC 9562)."""
    try:
        number = UUID(identity)
    except ValueError:
        return None
    return number.int >> 80 if number.version == _UUID_WITH_TIME else None


def _enqueued_at(identity: str) -> datetime | None:
    at = milliseconds_of(identity)
    return None if at is None else _moment(at)


def _spans(since: int | None) -> list[tuple[str, str]]:
    """Between which keys to look, one after the other."""
    first = (since or 0) - CLOCKS_DIFFER_MS
    return [(str(first), "+"), ("-", str(first - 1))] if first > 0 else [("-", "+")]


def _record(lane: str, key: bytes, what: bytes, stored: bytes, commands: int) -> Record:
    note = _decode_note(stored)
    return Record(
        at=_time_of(key),
        lane=lane,
        what=what.decode(),
        others=commands - 1,
        note=note,
        meaning=RULES.get(note.rule, ""),
    )


def _verb(message: bytes) -> str:
    try:
        return verb_of(receive(message))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UNREAD_VERB


def _time_of(key: bytes) -> datetime:
    """The time in a stream's key, by Redis's clock."""
    return _moment(int(key.partition(b"-")[0]))


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
