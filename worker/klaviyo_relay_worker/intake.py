"""The intake: what a planner has read of its lane and not yet sent, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from klaviyo_relay.commands import Unsubscribe
from klaviyo_relay_worker.admission import Admission
from klaviyo_relay_worker.lane import DUE_MOST, Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.lookahead import Lookahead
from klaviyo_relay_worker.outcome import Following, Outcome, Parked
from klaviyo_relay_worker.plan.batch import Batch, Entry, Ledger, take_in_order
from klaviyo_relay_worker.plan.lists import fence_of, free, until_about_lists
from klaviyo_relay_worker.plan.places import is_parked, job_key, job_of, parked_key
from klaviyo_relay_worker.settlement import JobRecord

# Two full requests of events, one of profiles: what the next batches are chosen from.
ENTRIES_MOST = {"events": 2_000, "privacy": 100}
ENTRIES_MOST_ELSE = 10_000
BYTES_MOST = 10_000_000
READ_AT_ONCE = 500


class Intake:
    """Entries waiting to be planned, those in flight, and whom the others must wait for.

    Attributes:
        waiting: read and not in flight, in order.
        jobs: import jobs whose next look is due.
        singly: keys of commands that must go out one by one.
    """

    def __init__(self, lane: Lane, lease: Lease, admission: Admission) -> None:
        self._lane = lane
        self._lease = lease
        self._keeps_order = lane.keeps_order
        self._admission = admission
        self._lookahead = Lookahead(lane)
        self._most = ENTRIES_MOST.get(lane.family, ENTRIES_MOST_ELSE)
        self._cursor = "0-0"
        self._in_flight: set[str] = set()
        self._is_begun = False
        self._fences: dict[str, frozenset[str]] = {}
        self._parked_unsubscribes: set[str] = set()
        self.waiting: list[Entry] = []
        self.jobs: list[tuple[str, JobRecord]] = []
        self.singly: set[str] = set()

    def fill(self, now: float) -> None:
        """Read on, as far as there is more and room for it."""
        if not self._is_begun:
            self._begin()
        self._take_due(now)
        room = BYTES_MOST - sum(entry.size for entry in self.waiting)
        while len(self.waiting) < self._most and room > 0:
            entries, broken, cursor = self._lane.read(self._cursor, READ_AT_ONCE)
            self._lane.bury_unreadable(self._lease, broken, now)
            entries = self._lookahead.without_taken(entries)
            self.waiting += self._admitted(entries, now)
            if cursor == self._cursor:
                return
            self._cursor = cursor
            room -= sum(entry.size for entry in entries)
        ahead = self._admitted(self._lookahead.read(self._cursor), now)
        if ahead or self._lookahead.taken:
            self.waiting = sorted([*self.waiting, *ahead], key=_place)

    def _begin(self) -> None:
        """Learn whom earlier turns have left held, by parked commands and by import jobs."""
        self._fences = self._lane.fences()
        self._parked_unsubscribes = self._lane.parked_unsubscribes()
        self._is_begun = True

    def refuse(self, batch: Batch, now: float) -> bool:
        """Settle what may not be sent any more; True if there was any, and the plan is void."""
        outcomes = self._admission.leaving(batch, now)
        self._settle_at_once(batch.entries, outcomes, now)
        self.waiting = [entry for entry in self.waiting if entry.key not in outcomes]
        return bool(outcomes)

    def _admitted(self, entries: list[Entry], now: float) -> list[Entry]:
        outcomes = self._admission.taken(entries, now) if entries else {}
        self._settle_at_once(entries, outcomes, now)
        return [entry for entry in entries if entry.key not in outcomes]

    def _settle_at_once(
        self, entries: Sequence[Entry], outcomes: Mapping[str, Outcome], now: float
    ) -> None:
        if not outcomes:
            return
        self._lane.settle(self._lease, entries, outcomes, now)
        self._lookahead.taken.difference_update(outcomes)
        for entry in entries:
            if isinstance(outcomes.get(entry.key), Parked):
                self._fence(parked_key(entry.envelope.id), entry)

    def has_news(self) -> bool:
        """Whether the stream goes on behind what was read."""
        return self._lane.goes_on(self._cursor)

    def _take_due(self, now: float) -> None:
        """All that there is room for: while one of a person is not read, the others wait for it."""
        while self._take_some_due(now) >= DUE_MOST:
            pass

    def _take_some_due(self, now: float) -> int:
        """Returns how many were due; 0 if no parked command was, or if there is no room for it."""
        waiting = [entry.key for entry in takewhile(_is_parked, self.waiting)]
        due = self._lane.due(now, self._in_flight.union(waiting))
        self._lane.set_aside(self._lease, due.unread, now)
        parked, self.jobs = due.parked, due.jobs
        if not parked or len(waiting) >= self._most:
            return 0
        for entry in parked:
            self._fences.pop(entry.key, None)
        self._put_back(self._admitted(parked, now))
        return len(parked) + len(self.jobs) + len(due.unread)

    def followed(self) -> list[str]:
        """The import jobs that are followed."""
        return [job for key in self._fences if (job := job_of(key)) is not None]

    def held(self) -> frozenset[str]:
        """Identities, and lists, that must wait."""
        return frozenset().union(*self._fences.values())

    def held_from_unsubscribe(self) -> frozenset[str]:
        """The same for an unsubscribe: a parked one before it does not change what it does."""
        fences = (who for key, who in self._fences.items() if key not in self._parked_unsubscribes)
        return frozenset().union(*fences)

    def alone(self) -> list[Entry]:
        """Waiting commands that go by themselves, each the oldest of its profile, if free to go."""
        parked = list(takewhile(_is_parked, self.waiting))
        if not any(entry.is_alone for entry in parked):
            return []
        chosen, _ = take_in_order(parked, self.held(), lambda entry: entry.is_alone, len(parked))
        return chosen

    def together(self) -> Sequence[Entry]:
        """The other waiting commands, without those that must wait for one that goes by itself."""
        alone = [entry for entry in takewhile(_is_parked, self.waiting) if entry.is_alone]
        if not alone:
            return self.waiting
        names = self._held_by(alone)
        keys = {entry.key for entry in alone}
        others = [
            entry
            for entry in self.waiting
            if entry.key not in keys and names.isdisjoint(entry.identities)
        ]
        return self._free(others, names)

    def _held_by(self, entries: Sequence[Entry]) -> frozenset[str]:
        if not self._keeps_order:
            return frozenset()
        return frozenset().union(*(fence_of(entry.command) for entry in entries))

    def _free(self, entries: Sequence[Entry], held: Iterable[str]) -> Sequence[Entry]:
        return free(entries, held) if self._lane.family == "lists" else entries

    def candidates(self) -> list[Entry]:
        """What may be sent now, one of each profile, so that none depends on another."""
        entries = self._free(self.together(), self.held())
        if self._lane.family == "lists":
            entries = until_about_lists(entries) or entries[:1]
        chosen, _ = take_in_order(entries, self.held(), lambda _: True, ENTRIES_MOST_ELSE)
        return chosen

    def sent(self, batch: Batch) -> None:
        """A batch is in flight now, and its profiles are held."""
        keys = {entry.key for entry in batch.entries}
        self._in_flight |= keys
        self.waiting = [entry for entry in self.waiting if entry.key not in keys]
        if self._keeps_order:
            for entry in batch.entries:
                self._fences[entry.key] = fence_of(entry.command)

    def look_sent(self, job_id: str) -> None:
        """A look at a job is in flight."""
        self._in_flight.add(job_key(job_id))

    def look_returned(self, job_id: str, batch: Batch, ledger: Ledger, *, has_ended: bool) -> None:
        """A look is back; if the job has ended, its profiles are free, but for what is parked."""
        self._in_flight.discard(job_key(job_id))
        if has_ended:
            self._fences.pop(job_key(job_id), None)
            for entry in batch.entries:
                if isinstance(ledger.outcomes.get(entry.key), Parked):
                    self._fence(parked_key(entry.envelope.id), entry)

    def returned(self, batch: Batch, ledger: Ledger) -> None:
        """A batch is back and settled; commands without an outcome wait again, in their place."""
        again = []
        self.singly |= ledger.singly
        for entry in batch.entries:
            self._in_flight.discard(entry.key)
            self._fences.pop(entry.key, None)
            outcome = ledger.outcomes.get(entry.key)
            if outcome is not None:
                self._lookahead.taken.discard(entry.key)
            if outcome is None:
                again.append(entry)
            elif isinstance(outcome, Parked):
                if isinstance(entry.command, Unsubscribe):
                    self._parked_unsubscribes.add(parked_key(entry.envelope.id))
                self._fence(parked_key(entry.envelope.id), entry)
            elif isinstance(outcome, Following):
                self._fence(job_key(outcome.job_id), entry)
        self._put_back(again)

    def _fence(self, key: str, entry: Entry) -> None:
        if self._keeps_order:
            self._fences[key] = self._fences.get(key, frozenset()) | fence_of(entry.command)

    def _put_back(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.waiting = sorted([*entries, *self.waiting], key=_place)


def _is_parked(entry: Entry) -> bool:
    return is_parked(entry.key)


def _place(entry: Entry) -> tuple[int, int, int]:
    """The order of what waits: parked ones first, by the time of their calls; then the stream's.

    The ids of calls of one millisecond tell no order, so commands that had one when they were
    parked have kept it as their rank.
    """
    if is_parked(entry.key):
        return (0, entry.envelope.at, entry.rank)
    milliseconds, _, number = entry.key.partition("-")
    return (1, int(milliseconds), int(number))
