"""The words of planning: entries, parts, batches and the ledger of outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import Received
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Dead, Delivered, Failure, Outcome, failures_of

Conversation = Generator[Request, Answer, None]
# Klaviyo takes 5 MB a request, unpacked (developers.klaviyo.com, guides of the bulk endpoints); the
# envelope around the items needs little of it.
BODY_MAX_BYTES = 4_950_000
# What an item's JSON needs beside the command's own fields; taken generously.
ITEM_OVERHEAD_BYTES = 320


class Entry(Struct, frozen=True, gc=False):
    """A command in a lane.

    Attributes:
        key: where it stands (see `plan.places`).
        envelope: the command.
        size: bytes of its message.
        attempts: how many Klaviyo has refused.
        is_redriven: a person has sent it back from the dead letters.
        parked_at: when it was parked first, in seconds since 1970; 0 if it is not parked.
        is_alone, paused_before, rank: as in `Parked`.
    """

    key: str
    envelope: Received
    size: int
    attempts: int = 0
    is_redriven: bool = False
    parked_at: float = 0.0
    is_alone: bool = False
    paused_before: float = 0.0
    rank: int = 0

    @property
    def command(self) -> Command:
        """The envelope's command."""
        return self.envelope.command

    @property
    def identities(self) -> tuple[str, ...]:
        """The profile's identifiers in normal form; who shares one is taken for one person."""
        return identities(self.envelope.command)


class Part(Struct, frozen=True, gc=False):
    """One item of a request: usually one command, several where they were coalesced.

    Attributes:
        entries: the commands, in order.
        command: what is sent for them.
    """

    entries: tuple[Entry, ...]
    command: Any

    @classmethod
    def of(cls, entry: Entry) -> Part:
        """A part for one command as it is."""
        return cls((entry,), entry.command)


class Exchange(Struct, frozen=True):
    """A request that was answered, as the journal tells of it. Holds nothing private.

    Attributes:
        endpoint: of the request.
        status: HTTP status of Klaviyo's answer.
    """

    endpoint: str
    status: int


class Facts(Struct):
    """Which answers of Klaviyo's the outcomes of a batch rest on.

    Attributes:
        accepted: the last request that Klaviyo took, or None.
        refused: the last one that it refused, or None.
    """

    accepted: Exchange | None = None
    refused: Exchange | None = None

    def learn(self, request: Request, answer: Answer) -> None:
        """Klaviyo has answered."""
        exchange = Exchange(request.endpoint, answer.status)
        if answer.is_accepted:
            self.accepted = exchange
        else:
            self.refused = exchange


class Ledger(Struct):
    """What became of each command of a batch, and what was learned on the way.

    Attributes:
        outcomes: entry's key -> outcome.
        lists: list name -> id, or None where Klaviyo has no such list any more.
        created: id of a create_list command -> id of its list.
        singly: keys of commands that must go out one by one next time.
        has_repeats: Klaviyo refuses requests because it has some of their events already.
        imports: names of the notes about import jobs (see `Lane.note_import`) of which it is known
            what became of them.
        unsure: the notes about those of which it is not: name -> when, in seconds since 1970.
        strays: unfinished import jobs that may be ours.
        look_refused: why Klaviyo would not tell of its import jobs, or None.
        facts: which answers the outcomes rest on.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    lists: dict[str, str | None] = field(default_factory=dict)
    created: dict[str, str] = field(default_factory=dict)
    singly: set[str] = field(default_factory=set)
    has_repeats: bool = False
    imports: list[str] = field(default_factory=list)
    unsure: dict[str, float] = field(default_factory=dict)
    strays: int = 0
    look_refused: Failure | None = None
    facts: Facts = field(default_factory=Facts)

    def know_imports(self) -> None:
        """It is known what became of all imports so far."""
        self.imports += self.unsure
        self.unsure = {}

    def settle(self, entries: Iterable[Entry], outcome: Outcome) -> None:
        """The same outcome for all of these."""
        for entry in entries:
            self.outcomes[entry.key] = outcome

    def settle_parts(self, parts: Iterable[Part], outcome: Outcome) -> None:
        """The same outcome for all commands of these."""
        for part in parts:
            self.settle(part.entries, outcome)

    def refuse(self, entries: Iterable[Entry], failure: Failure) -> None:
        """Dead letters, in Klaviyo's words."""
        self.settle(entries, Dead(failure))

    def settle_by(self, answer: Answer, entries: Iterable[Entry]) -> None:
        """Delivered if Klaviyo took the request that was made of these, else refused."""
        if answer.is_accepted:
            self.settle(entries, Delivered())
        else:
            self.refuse(entries, refusal_of(answer))


def refusal_of(answer: Answer) -> Failure:
    """The first reason that Klaviyo gives for a refusal."""
    return failures_of(answer.status, answer.document())[0]


class Batch(Struct, frozen=True):
    """Commands that go out together.

    Attributes:
        endpoint: of its first request; its quota is reserved before the batch is sent.
        entries: all commands in it.
        converse: starts the conversation.
        is_full: no more would fit in, so it need not wait to grow.
    """

    endpoint: str
    entries: Sequence[Entry]
    converse: Callable[[Ledger], Conversation]
    is_full: bool = False


def decided(verdicts: Sequence[tuple[Entry, Outcome]]) -> Batch:
    """A batch that needs no request: what becomes of its commands is known already."""

    def converse(ledger: Ledger) -> Conversation:
        for entry, outcome in verdicts:
            ledger.settle((entry,), outcome)
        yield from ()

    return Batch("", [entry for entry, _ in verdicts], converse, is_full=True)


class Situation(Struct, frozen=True):
    """What a planner must know beside the commands.

    Attributes:
        now: seconds since 1970.
        is_idle: nothing of the lane is in flight.
        held: identities that must wait: in flight, parked, or in an unfinished import job; and
            lists, of which something in flight or parked is about.
        held_from_unsubscribe: the same for unsubscribes, which need not wait for a parked
            unsubscribe. Defaults to `held`.
        lists: list name -> id, as far as known.
        singly: keys of commands that must go out one by one.
        facts: what the lane's admission adds for its plan, such as `ConsentFacts`, or None.
    """

    now: float
    is_idle: bool = True
    held: frozenset[str] = frozenset()
    held_from_unsubscribe: frozenset[str] | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    singly: frozenset[str] = frozenset()
    facts: Any = None


PREFIXES = {
    "email": "email:",
    "phone_number": "phone:",
    "external_id": "external:",
    "profile_id": "id:",
    "anonymous_id": "anonymous:",
}
"""How an identity begins, by the command's field."""
# Each command of a backlog is asked several times.
_PREFIXES = tuple(PREFIXES.items())


def identity(name: str, value: str) -> str:
    """One identifier in normal form: e-mail addresses are the same in any case."""
    return PREFIXES[name] + (value.lower() if name == "email" else value)


def identities(command: Command) -> tuple[str, ...]:
    """The identifiers of a command's profile, e-mail addresses in lower case."""
    found = []
    for name, prefix in _PREFIXES:
        value = getattr(command, name, None)
        if value is not None:
            found.append(prefix + (value.lower() if name == "email" else value))
    return tuple(found)


def take_in_order(
    entries: Iterable[Entry],
    held: Iterable[str],
    wanted: Callable[[Entry], bool],
    most: int,
) -> tuple[list[Entry], bool]:
    """Up to `most` wanted entries of different profiles, overtaking no earlier one of the same.

    Returns:
        The entries, and whether the batch is full by count or by bytes.
    """
    waiting = set(held)
    found: list[Entry] = []
    room = BODY_MAX_BYTES
    for entry in entries:
        names = entry.identities
        if not waiting.isdisjoint(names):
            waiting.update(names)
            continue
        waiting.update(names)
        if not wanted(entry):
            continue
        room -= entry.size + ITEM_OVERHEAD_BYTES
        if room < 0 and found:
            return found, True
        found.append(entry)
        if len(found) == most:
            return found, True
    return found, False
