"""A lane: all that a planner reads and writes of it in Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

from msgspec import Struct, field
from redis import Redis

from klaviyo_relay.commands import Unsubscribe
from klaviyo_relay.envelope import BULK_SUFFIX, receive
from klaviyo_relay.keys import Keys, LaneKeys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.breaker import family_of
from klaviyo_relay_worker.dead_letters import UNREADABLE
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.journal import JOURNAL_BYTES
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Dead, Failure, Following, Outcome
from klaviyo_relay_worker.plan.batch import Entry, Facts, identities
from klaviyo_relay_worker.plan.lists import fence_of
from klaviyo_relay_worker.plan.places import job_key, job_of, parked_key
from klaviyo_relay_worker.settlement import (
    FOREIGN_AGAIN_SECONDS,
    JobRecord,
    bury_parked,
    bury_unreadable,
    decode_job,
    decode_parked,
    next_look,
    operations,
    postpone,
    read_job,
    read_parked,
)
from klaviyo_relay_worker.waits import snooze_left

logger = logging.getLogger("klaviyo_relay_worker.lane")

# One reply of Redis holds no more than this; a message may be as large as 4.9 MB.
READ_BYTES_MOST = 8_000_000
# Those whose commands go out in import jobs.
IMPORTING_LANES = ("profiles", "lists", "profiles:bulk", "lists:bulk")
# Parked commands and import jobs that are taken up at once.
DUE_MOST = 1_000


class LaneState(Struct, frozen=True):
    """Why and until when a lane waits.

    Attributes:
        until: seconds since 1970, or 0.
        reason: of the wait.
        failures: outages in a row.
        since: when the lane was told to wait, in seconds since 1970, or 0.
        is_paused: by a person.
        paused_seconds: of all such pauses that are over.
        server_errors: turns in a row that ended with a server error of Klaviyo's.
        failing: commands in the batch that failed so last.
        failing_since: when the first of these turns ended, in seconds since 1970.
        imports: imports that were sent and never settled: name of the note -> when.
    """

    until: float = 0.0
    reason: str = ""
    failures: int = 0
    since: float = 0.0
    is_paused: bool = False
    paused_seconds: float = 0.0
    server_errors: int = 0
    failing: int = 0
    failing_since: float = 0.0
    imports: dict[str, float] = field(default_factory=dict)

    def is_waiting(self, now: float) -> bool:
        """Whether nothing may be sent now (seconds since 1970)."""
        return self.is_paused or snooze_left(self.since, self.until, now) > 0


class Due(Struct, frozen=True):
    """What of a lane is due.

    Attributes:
        parked: the commands.
        jobs: the import jobs, by their ids.
        unread: what this release cannot read: its name, what is stored, and why.
    """

    parked: list[Entry] = field(default_factory=list)
    jobs: list[tuple[str, JobRecord]] = field(default_factory=list)
    unread: list[tuple[str, bytes, str]] = field(default_factory=list)


NO_FACTS = Facts()
DEAD_UNREADABLE = Dead(Failure(code="unreadable"))
_FOREIGN = "cannot be read by this release; its commands wait for a worker of the one that wrote it"
_GONE = "was due, and nothing is stored of it"
_IMPORT_NOTE = "import:"
_SUSPECT = """#!lua flags=allow-oom
redis.call('HSETNX', KEYS[1], 'failing_since', ARGV[3])
return redis.call('HSET', KEYS[1], 'server_errors', ARGV[1], 'failing', ARGV[2])
"""


class Lane:
    """One lane of one account.

    Args:
        journal_bytes: how large its journal may become; 0 for none.
        on_settled: told of the outcomes that were written down.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        account: str,
        lane: str,
        *,
        journal_bytes: int = JOURNAL_BYTES,
        on_settled: Callable[[Iterable[Outcome]], None] = lambda _outcomes: None,
    ) -> None:
        self._redis = redis
        self._tell = on_settled
        self._journal_bytes = journal_bytes
        self.keys: LaneKeys = keys.lane(account, lane)
        self._all_keys = keys
        self._doorbell = keys.doorbell
        self.account = account
        self.lane = lane
        self._settle: Any = redis.register_script(script_of("klaviyo_relay_worker", "settle"))
        self._set: Any = redis.register_script(script_of("klaviyo_relay_worker", "set"))
        self._pause: Any = redis.register_script(script_of("klaviyo_relay_worker", "pause"))
        self._suspect: Any = redis.register_script(_SUSPECT)
        self._read: Any = redis.register_script(script_of("klaviyo_relay_worker", "read"))

    @property
    def name(self) -> str:
        """`account:lane`."""
        return self.keys.name

    @property
    def family(self) -> str:
        """The family of endpoints that it uses, as its `:bulk` twin does."""
        return family_of(self.lane)

    @property
    def is_bulk(self) -> bool:
        """Whether it is a low-priority twin."""
        return self.lane.endswith(BULK_SUFFIX)

    @property
    def keeps_order(self) -> bool:
        """Whether a person's commands wait for each other; Klaviyo dates events by themselves."""
        return self.family != "events"

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
            except UNREADABLE as error:
                broken.append((key, messages[start:end], str(error)))
            start = end
        return entries, broken, key

    def goes_on(self, after: str) -> bool:
        """Whether the stream has entries behind a key."""
        return bool(self._redis.xrange(self.keys.stream, min=f"({after}", count=1))

    def due(self, now: float, taken: Collection[str] = ()) -> Due:
        """Parked commands and import jobs whose time has come.

        Args:
            now: seconds since 1970.
            taken: keys of those that are not wanted again.
        """
        found = Due()
        for name in self._names_of_due(now, taken):
            job = job_of(name)
            places = (self.keys.parked, name) if job is None else (self.keys.following, job)
            stored: Any = self._redis.hget(*places) or b""
            try:
                if job is None:
                    found.parked.append(decode_parked(stored).entry())
                else:
                    found.jobs.append((job, decode_job(stored)))
            except UNREADABLE as error:
                found.unread.append((name, stored, str(error)))
        return found

    def set_aside(self, lease: Lease, unread: Iterable[tuple[str, bytes, str]], now: float) -> None:
        """What was due and cannot be read by this release, so that the lane goes on without it.

        A parked command becomes a dead letter with its content; an import job stays for a worker
        that can read it; a name behind which there is nothing goes.

        Args:
            lease: of the lane.
            unread: name, what is stored, and why it cannot be read, as in `Due`.
            now: seconds since 1970.
        """
        arguments: list[Any] = []
        buried = []
        for name, stored, why in unread:
            if stored and job_of(name) is None:
                arguments += bury_parked(self.name, name, stored, why, now)
                buried.append(DEAD_UNREADABLE)
            else:
                arguments += postpone(name, now + FOREIGN_AGAIN_SECONDS)
                logger.error("%s: %s %s (%s)", self.name, name, _FOREIGN if stored else _GONE, why)
        if arguments:
            self._run(lease, arguments)
            self._tell(buried)

    def _names_of_due(self, now: float, taken: Collection[str]) -> list[str]:
        """So many beside those that are taken, which may have to wait for what comes after them."""
        most = DUE_MOST + len(taken)
        found: Any = self._redis.zrangebyscore(self.keys.due, 0, int(now * 1000), 0, most)
        names = (raw.decode() for raw in found)
        fresh = (n for n in names if n not in taken and parked_key(n) not in taken)
        return list(islice(fresh, DUE_MOST))

    def fences(self) -> dict[str, frozenset[str]]:
        """Whom later commands must wait for: the key of what is parked or followed -> its fence.

        Nothing where a lane keeps no order. Nobody is known to wait for what this release cannot
        read.
        """
        found: dict[str, frozenset[str]] = {}
        if not self.keeps_order:
            return found
        parked: Any = self._redis.hgetall(self.keys.parked)
        for name, stored in parked.items():
            if record := read_parked(stored):
                found[parked_key(name.decode())] = fence_of(record.envelope.command)
        jobs: Any = self._redis.hgetall(self.keys.following)
        for name, stored in jobs.items():
            if job := read_job(stored):
                everyone = (who for row in job.rows for who in identities(row.envelope.command))
                found[job_key(name.decode())] = frozenset(everyone)
        return found

    def jobs_of_account(self) -> set[str]:
        """The import jobs that this lane and the others of its account follow."""
        found: set[str] = set()
        for lane in IMPORTING_LANES:
            following: Any = self._redis.hkeys(self._all_keys.lane(self.account, lane).following)
            found.update(job.decode() for job in following)
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
            parked_key(name.decode())
            for name, stored in parked.items()
            if (record := read_parked(stored)) and isinstance(record.envelope.command, Unsubscribe)
        }

    def state(self) -> LaneState:
        """Why the lane waits, if it does."""
        stored: Any = self._redis.hgetall(self.keys.state)
        return LaneState(
            until=float(stored.get(b"until", 0)),
            reason=stored.get(b"reason", b"").decode(),
            failures=int(stored.get(b"failures", 0)),
            since=float(stored.get(b"since", 0)),
            is_paused=b"paused" in stored,
            paused_seconds=int(stored.get(b"pauses", 0)) / 1000,
            server_errors=int(stored.get(b"server_errors", 0)),
            failing=int(stored.get(b"failing", 0)),
            failing_since=float(stored.get(b"failing_since", 0)),
            imports={
                name.decode(): float(when)
                for name, when in stored.items()
                if name.startswith(_IMPORT_NOTE.encode())
            },
        )

    def snooze(self, since: float, until: float, reason: str, failures: int) -> None:
        """Let the lane wait from now on until a time (both in seconds since 1970)."""
        waits = ["since", f"{since:.3f}", "until", f"{until:.3f}"]
        waits += ["reason", reason, "failures", str(failures)]
        self._set(keys=[self.keys.state], args=waits)

    def pause(self) -> None:
        """A person stops the lane."""
        self._pause(keys=[self.keys.state], args=["pause"])

    def resume(self) -> None:
        """A person lets the lane go on, whatever it waits for, and rings for it."""
        self._pause(keys=[self.keys.state], args=["resume"])
        self._redis.publish(self._doorbell, self.name)

    def note_look(self, now: float) -> None:
        """A planner has looked: what waits here waits for something, not for a planner."""
        self._set(keys=[self.keys.state], args=["looked", f"{now:.3f}"])

    def recover(self) -> None:
        """Klaviyo answered: forget the failures."""
        self._redis.hdel(self.keys.state, "since", "until", "reason", "failures")

    def note_server_error(self, errors: int, failing: int, now: float) -> None:
        """A turn ended with a server error: the next one may have to look for a culprit."""
        self._suspect(keys=[self.keys.state], args=[errors, failing, f"{now:.3f}"])

    def forget_server_errors(self) -> None:
        """The lane got a proper answer."""
        self._redis.hdel(self.keys.state, "server_errors", "failing", "failing_since")

    def note_import(self, now: float) -> str:
        """An import job is about to be asked for; returns the name of the note.

        The note outlives this process: if it is found later, nobody knows whether Klaviyo took it.
        """
        name = _IMPORT_NOTE + uuid4().hex
        self.date_import(name, now)
        return name

    def date_import(self, name: str, when: float) -> None:
        """The note's time is another one (seconds since 1970)."""
        self._set(keys=[self.keys.state], args=[name, f"{when:.3f}"])

    def forget_imports(self, names: Iterable[str]) -> None:
        """It is known what became of these imports."""
        if names := list(names):
            self._redis.hdel(self.keys.state, *names)

    def settle(
        self,
        lease: Lease,
        entries: Sequence[Entry],
        outcomes: Mapping[str, Outcome],
        now: float,
        *,
        facts: Facts = NO_FACTS,
    ) -> None:
        """Write down what became of commands, all or nothing; what is gone already stays gone.

        Args:
            lease: of the lane.
            entries: the commands.
            outcomes: by the keys of those that have one.
            now: seconds since 1970.
            facts: for the journal.

        Raises:
            LeaseLostError: another planner has the lane; nothing was written.
        """
        settled = [(entry, outcomes[entry.key]) for entry in entries if entry.key in outcomes]
        if settled:
            self._run(lease, operations(self.name, settled, now, facts))
            self._tell(outcome for _, outcome in settled)

    def settle_job(
        self,
        lease: Lease,
        job_id: str,
        record: JobRecord,
        outcomes: Mapping[str, Outcome],
        now: float,
        *,
        facts: Facts = NO_FACTS,
    ) -> bool:
        """Write down what a look at an import job showed; returns whether the job has ended.

        Raises:
            LeaseLostError: another planner has the lane; nothing was written.
        """
        entries = [entry for part in record.parts() for entry in part]
        settled = [(entry, outcomes[entry.key]) for entry in entries if entry.key in outcomes]
        if len(settled) == len(entries) and not isinstance(settled[0][1], Following):
            self._run(lease, ["followed", job_id, *operations(self.name, settled, now, facts)])
            self._tell(outcome for _, outcome in settled)
            return True
        self._run(lease, postpone(job_key(job_id), next_look(record.since, now)))
        return False

    def bury_unreadable(
        self, lease: Lease, broken: Iterable[tuple[str, bytes, str]], now: float
    ) -> None:
        """Dead letters of messages that are no envelopes, dated `now` (seconds since 1970)."""
        broken = list(broken)
        if arguments := bury_unreadable(self.name, broken, now):
            self._run(lease, arguments)
            self._tell(DEAD_UNREADABLE for _ in broken)

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
                keys.rows,
                keys.journal,
            ],
            args=[lease.token, self._journal_bytes, *arguments],
        )
        if done < 0:
            raise LeaseLostError(f"the lane {self.name} has another planner")
