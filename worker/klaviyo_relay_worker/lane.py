"""A lane: all that a planner reads and writes of it in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from redis import Redis

from klaviyo_relay.commands import Unsubscribe
from klaviyo_relay.envelope import Received, receive
from klaviyo_relay.keys import Keys, LaneKeys
from klaviyo_relay.lane_entrance import script_of
from klaviyo_relay_worker import dead_letters
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Following, Outcome, Parked
from klaviyo_relay_worker.plan.batch import Entry, identities

# How soon an import job is looked at, and how that grows with its age.
# One reply of Redis holds no more than this; a message may be as large as 4.9 MB.
READ_BYTES_MOST = 8_000_000
FIRST_LOOK_SECONDS, LATER_LOOK_SHARE, MOST_LOOK_SECONDS = 0.5, 0.25, 30.0


class ParkedRecord(Struct, frozen=True, omit_defaults=True):
    """A parked command as it is stored.

    Attributes:
        reason: why it waits.
        attempts: how many Klaviyo has refused.
        since: when it was parked first, in seconds since 1970.
        is_redriven: as in `Entry`.
    """

    envelope: Received
    reason: str
    attempts: int = 0
    since: float = 0.0
    is_redriven: bool = False


class JobRow(Struct, frozen=True, array_like=True):
    """A command in an import job: its row there, what it is, and its attempts so far."""

    row: int
    envelope: Received
    attempts: int = 0
    is_redriven: bool = False


class JobRecord(Struct, frozen=True):
    """An import job being followed.

    Attributes:
        since: seconds since 1970.
        rows: its commands.
    """

    since: float
    rows: list[JobRow]

    def parts(self) -> list[list[Entry]]:
        """The entries of each row, in the rows' order."""
        found: list[list[Entry]] = [[] for _ in range(1 + max(row.row for row in self.rows))]
        for row in self.rows:
            key = f"f:{row.envelope.id}"
            entry = Entry(key, row.envelope, 0, row.attempts, row.is_redriven)
            found[row.row].append(entry)
        return found


class LaneState(Struct, frozen=True):
    """Why and until when a lane waits.

    Attributes:
        until: seconds since 1970, or 0.
        reason: of the wait.
        failures: outages in a row.
        is_paused: by a person.
    """

    until: float = 0.0
    reason: str = ""
    failures: int = 0
    is_paused: bool = False


# A full Redis refuses a plain HSET.
_NOTE = """#!lua flags=allow-oom
return redis.call('HSET', KEYS[1], 'until', ARGV[1], 'reason', ARGV[2], 'failures', ARGV[3])
"""
_encode = msgspec.json.Encoder().encode
_decode_parked = msgspec.json.Decoder(ParkedRecord).decode
_decode_job = msgspec.json.Decoder(JobRecord).decode


class Lane:
    """One lane of one account."""

    def __init__(self, redis: Redis, keys: Keys, account: str, lane: str) -> None:
        self._redis = redis
        self.keys: LaneKeys = keys.lane(account, lane)
        self.account = account
        self.lane = lane
        self._settle: Any = redis.register_script(script_of("klaviyo_relay_worker", "settle"))
        self._note: Any = redis.register_script(_NOTE)
        self._read: Any = redis.register_script(script_of("klaviyo_relay_worker", "read"))

    @property
    def name(self) -> str:
        """`account:lane`."""
        return self.keys.name

    def read(self, after: str, count: int) -> tuple[list[Entry], list[tuple[str, bytes, str]], str]:
        """The next entries of the stream.

        Returns:
            The entries; the unreadable ones as (key, message, why); and the last key read.
        """
        index, messages = self._read(keys=[self.keys.stream], args=[after, count, READ_BYTES_MOST])
        entries: list[Entry] = []
        broken: list[tuple[str, bytes, str]] = []
        key, start = after, 0
        for item in index.decode().split(",") if index else ():
            key, _, length = item.partition(":")
            is_redriven = length.endswith("r")
            end = start + int(length.rstrip("r"))
            try:
                envelope = receive(messages[start:end])
                entries.append(Entry(key, envelope, end - start, is_redriven=is_redriven))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                broken.append((key, messages[start:end], str(error)))
            start = end
        return entries, broken, key

    def goes_on(self, after: str) -> bool:
        """Whether the stream has entries behind a key."""
        return bool(self._redis.xrange(self.keys.stream, min=f"({after}", count=1))

    def due(self, now: float) -> tuple[list[Entry], list[tuple[str, JobRecord]]]:
        """Parked commands and import jobs whose time has come."""
        names: Any = self._redis.zrangebyscore(self.keys.due, 0, int(now * 1000), 0, 1000)
        parked, jobs = [], []
        for name in (raw.decode() for raw in names):
            if name.startswith("job:"):
                stored: Any = self._redis.hget(self.keys.following, name[4:])
                jobs.append((name[4:], _decode_job(stored)))
            else:
                stored = self._redis.hget(self.keys.parked, name)
                record = _decode_parked(stored)
                found = Entry(
                    f"p:{name}",
                    record.envelope,
                    0,
                    record.attempts,
                    record.is_redriven,
                    record.since,
                )
                parked.append(found)
        return parked, jobs

    def fences(self) -> dict[str, frozenset[str]]:
        """Whom later commands must wait for: the key of what is parked or followed -> identities.

        Events keep no order among each other, so nothing of theirs is ever fenced.
        """
        found: dict[str, frozenset[str]] = {}
        if self.lane.partition(":")[0] == "events":
            return found
        parked: Any = self._redis.hgetall(self.keys.parked)
        for name, stored in parked.items():
            command = _decode_parked(stored).envelope.command
            found[f"p:{name.decode()}"] = frozenset(identities(command))
        jobs: Any = self._redis.hgetall(self.keys.following)
        for name, stored in jobs.items():
            rows = _decode_job(stored).rows
            everyone = (who for row in rows for who in identities(row.envelope.command))
            found[f"job:{name.decode()}"] = frozenset(everyone)
        return found

    def holds_older(self, other: Entry) -> bool:
        """Whether something of another lane's entry's profile may wait here that is older.

        Of the stream the first entry tells: what comes behind it is about as new.
        """
        first, _, _ = self.read("0-0", 1)
        if any(entry.envelope.at <= other.envelope.at for entry in first):
            return True
        return any(not who.isdisjoint(other.identities) for who in self.fences().values())

    def parked_unsubscribes(self) -> set[str]:
        """The keys of parked unsubscribes."""
        if self.lane != "consent":
            return set()
        parked: Any = self._redis.hgetall(self.keys.parked)
        return {
            f"p:{name.decode()}"
            for name, stored in parked.items()
            if isinstance(_decode_parked(stored).envelope.command, Unsubscribe)
        }

    def state(self) -> LaneState:
        """Why the lane waits, if it does."""
        stored: Any = self._redis.hgetall(self.keys.state)
        return LaneState(
            until=float(stored.get(b"until", 0)),
            reason=stored.get(b"reason", b"").decode(),
            failures=int(stored.get(b"failures", 0)),
            is_paused=b"paused" in stored,
        )

    def snooze(self, until: float, reason: str, failures: int) -> None:
        """Let the lane wait until a time (seconds since 1970)."""
        self._note(keys=[self.keys.state], args=[f"{until:.3f}", reason, failures])

    def recover(self) -> None:
        """Klaviyo answered: forget the failures."""
        self._redis.hdel(self.keys.state, "until", "reason", "failures")

    def settle(
        self, lease: Lease, entries: Sequence[Entry], outcomes: Mapping[str, Outcome], now: float
    ) -> None:
        """Write down what became of commands, all or nothing.

        Raises:
            LeaseLostError: another planner has the lane; nothing was written.
        """
        settled = [(entry, outcomes[entry.key]) for entry in entries if entry.key in outcomes]
        if settled:
            self._run(lease, _operations(self.name, settled, now))

    def settle_job(
        self,
        lease: Lease,
        job_id: str,
        record: JobRecord,
        outcomes: Mapping[str, Outcome],
        now: float,
    ) -> bool:
        """Write down what a look at an import job showed; returns whether the job has ended.

        Raises:
            LeaseLostError: another planner has the lane; nothing was written.
        """
        entries = [entry for part in record.parts() for entry in part]
        settled = [(entry, outcomes[entry.key]) for entry in entries if entry.key in outcomes]
        if len(settled) == len(entries) and not isinstance(settled[0][1], Following):
            self._run(lease, ["followed", job_id, *_operations(self.name, settled, now)])
            return True
        look = int(next_look(record.since, now) * 1000)
        self._run(lease, ["postponed", job_id, look])
        return False

    def bury_unreadable(self, lease: Lease, broken: Iterable[tuple[str, bytes, str]]) -> None:
        """Dead letters of messages that are no envelopes."""
        arguments: list[Any] = []
        for key, message, why in broken:
            identity = f"unreadable-{key}"
            letter = dead_letters.unreadable(self.name, identity, message, why)
            arguments += ["dead", key, identity, letter, len(message)]
        if arguments:
            self._run(lease, arguments)

    def _run(self, lease: Lease, arguments: list[Any]) -> None:
        keys = self.keys
        done: int = self._settle(
            keys=[
                keys.stream,
                keys.counts,
                keys.lease,
                keys.parked,
                keys.due,
                keys.dead,
                keys.following,
            ],
            args=[lease.token, *arguments],
        )
        if done < 0:
            raise LeaseLostError(f"the lane {self.name} has another planner")


def _operations(lane: str, settled: list[tuple[Entry, Outcome]], now: float) -> list[Any]:
    """The script's arguments: many commands with one outcome are one operation."""
    arguments: list[Any] = []
    groups: dict[Any, list[Entry]] = {}
    jobs: dict[str, list[tuple[Entry, int]]] = {}
    for entry, outcome in settled:
        match outcome:
            case Delivered():
                groups.setdefault(("delivered",), []).append(entry)
            case Dropped(rule):
                groups.setdefault(("dropped", rule), []).append(entry)
            case Dead(failure):
                letter = dead_letters.letter(lane, entry.envelope, failure, entry.attempts + 1, now)
                arguments += ["dead", entry.key, entry.envelope.id, letter, entry.size]
            case Parked(until, reason, failure):
                attempts = entry.attempts + (failure is not None)
                since = entry.parked_at or now
                record = _encode(
                    ParkedRecord(entry.envelope, reason, attempts, since, entry.is_redriven)
                )
                arguments += ["parked", entry.key, entry.envelope.id, record]
                arguments += [int(until * 1000), entry.size]
            case Following(job_id, row):
                jobs.setdefault(job_id, []).append((entry, row))
    for head, entries in groups.items():
        arguments += [*head, *_keys_and_bytes(entries)]
    for job_id, members in jobs.items():
        arguments += _follow(job_id, members, now)
    return arguments


def _keys_and_bytes(entries: Sequence[Entry]) -> list[Any]:
    return [len(entries), *(entry.key for entry in entries), sum(entry.size for entry in entries)]


def _follow(job_id: str, members: list[tuple[Entry, int]], now: float) -> list[Any]:
    rows = [JobRow(row, one.envelope, one.attempts, one.is_redriven) for one, row in members]
    record = JobRecord(now, rows)
    due = int((now + FIRST_LOOK_SECONDS) * 1000)
    entries = [entry for entry, _ in members]
    return ["following", job_id, _encode(record), due, *_keys_and_bytes(entries)]


def next_look(since: float, now: float) -> float:
    """When to look at a job again, in seconds since 1970: soon if it is young, later if old."""
    wait = max(FIRST_LOOK_SECONDS, (now - since) * LATER_LOOK_SHARE)
    return now + min(MOST_LOOK_SECONDS, wait)
