"""Withdrawals: which later unsubscribe takes which subscribe back. Pure.

A withdrawal has a *place*: one list, or everywhere. An unsubscribe from everywhere takes back what
is older on any list; one from a list only what is older on that list. Of equal times the withdrawal
wins, and where nobody knows whether two lists are the same, they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from klaviyo_relay.commands import Channel, Command, Subscribe, Suppress, Unsubscribe
from klaviyo_relay_worker.outcome import Dropped, Rule
from klaviyo_relay_worker.plan.batch import PREFIXES, Entry, Ledger, Part

EVERYWHERE = ""
# A suppression stops all mail to an address, but it is lifted by itself: only a redriven subscribe,
# which has lost its place in the order, is taken back by it.
SUPPRESSION = "suppress"
# Not a place: when we last sent a withdrawal of this address to Klaviyo.
SENT = "sent"
_EMAIL, _PHONE = PREFIXES["email"], PREFIXES["phone_number"]
_BY_ID, _BY_NAME = "id:", "name:"
# Klaviyo dates an unsubscribe when it gets round to it, some time after its 202. It names no bound
# for that; two minutes are our guess.
OURS_BEFORE_MS, OURS_AFTER_MS = 5_000, 120_000

Times = Mapping[str, int]
Lists = Mapping[str, str]


def addresses_of(command: Command) -> list[tuple[Channel, str]]:
    """The channels that a command is about, each with its address in normal form."""
    if isinstance(command, Suppress):
        return [("email", _EMAIL + command.email.lower())]
    if not isinstance(command, (Subscribe, Unsubscribe)):
        return []
    return [(channel, _address(command, channel)) for channel in command.consented_channels()]


def _address(command: Subscribe | Unsubscribe, channel: Channel) -> str:
    if channel == "email":
        return _EMAIL + (command.email or "").lower()
    return f"{_PHONE}{command.phone_number}"


def place_of(command: Command) -> str:
    """Where consent is given or withdrawn."""
    if isinstance(command, Suppress):
        return SUPPRESSION
    list_id, name = getattr(command, "list_id", None), getattr(command, "list_name", None)
    if list_id is not None:
        return _BY_ID + str(list_id)
    return EVERYWHERE if name is None else _BY_NAME + str(name)


def place_of_list(list_id: str | None) -> str:
    """The same for a list that Klaviyo was asked for."""
    return EVERYWHERE if list_id is None else _BY_ID + list_id


def places_of(command: Command, lists: Lists) -> list[str]:
    """All names under which a command's list may be spoken of, as far as known."""
    place = place_of(command)
    identity = _resolved(place, lists)
    names = [_BY_NAME + name for name, known in lists.items() if _BY_ID + known == identity]
    return list(dict.fromkeys([place, identity or place, *names]))


def own_time(entry: Entry) -> int:
    """When a subscribe was meant, in milliseconds since 1970: as it says itself, or its call."""
    consented_at = getattr(entry.command, "consented_at", None)
    if consented_at is None:
        return entry.envelope.at
    return int(datetime.fromisoformat(consented_at).timestamp() * 1000)


def covers(place: str, wanted: str, lists: Lists) -> bool:
    """Whether a withdrawal from `place` takes back consent given for `wanted`."""
    if place in (EVERYWHERE, wanted):
        return True
    if wanted == EVERYWHERE or not place.startswith((_BY_ID, _BY_NAME)):
        return False
    known = _resolved(place, lists)
    if known is None:
        # A name that nobody can resolve yet: it may be any list that is known by its id only.
        return wanted.startswith(_BY_ID)
    return known == _resolved(wanted, lists)


def _resolved(place: str, lists: Lists) -> str | None:
    if not place.startswith(_BY_NAME):
        return place
    known = lists.get(place.removeprefix(_BY_NAME))
    return None if known is None else _BY_ID + known


class Withdrawals:
    """The withdrawals that a planner knows of, by address. One turn at the consent lane long."""

    def __init__(self) -> None:
        self._times: dict[str, dict[str, int]] = {}

    def learn(self, address: str, times: Times) -> None:
        """Times in milliseconds since 1970, by place; the latest of each counts."""
        known = self._times.setdefault(address, {})
        for place, at in times.items():
            known[place] = max(at, known.get(place, 0))

    def note(self, entries: Iterable[Entry]) -> None:
        """Learn what entries withdraw."""
        for entry in entries:
            if isinstance(entry.command, (Unsubscribe, Suppress)):
                for _, address in addresses_of(entry.command):
                    self.learn(address, {place_of(entry.command): entry.envelope.at})

    def withdrawn(self, entry: Entry, wanted: str, lists: Lists) -> set[Channel]:
        """The channels of a subscribe that a withdrawal, as new or newer, takes back."""
        return {
            channel
            for channel, address in addresses_of(entry.command)
            if self._is_withdrawn(entry, address, wanted, lists)
        }

    def _is_withdrawn(self, entry: Entry, address: str, wanted: str, lists: Lists) -> bool:
        times = self._times.get(address)
        if not times:
            return False
        own = own_time(entry)
        later = [place for place, at in times.items() if at >= own]
        if entry.is_redriven and SUPPRESSION in later:
            return True
        return any(covers(place, wanted, lists) for place in later)

    def is_ours(self, address: str, at: int) -> bool:
        """Whether a withdrawal that Klaviyo dates `at` is the one that we have sent ourselves."""
        sent = self._times.get(address, {}).get(SENT)
        return sent is not None and sent - OURS_BEFORE_MS <= at <= sent + OURS_AFTER_MS


class ConsentFacts(Struct, frozen=True):
    """What the consent lane's planner knows beside the commands.

    Attributes:
        withdrawals: grows while batches are in flight.
        joining: keys of unsubscribes whose profile may still become a member of the list.
    """

    withdrawals: Withdrawals = field(default_factory=Withdrawals)
    joining: frozenset[str] = frozenset()


def still_wanted(
    parts: Sequence[Part], place: str, withdrawals: Withdrawals, lists: Lists, ledger: Ledger
) -> list[Part]:
    """What withdrawals leave of the parts, now that the list is known by its id."""

    def withdrawn(entry: Entry) -> set[Channel]:
        return withdrawals.withdrawn(entry, place, lists)

    return narrowed(parts, withdrawn, Rule.SUPERSEDED, ledger)


def narrowed(
    parts: Sequence[Part],
    withdrawn: Callable[[Entry], set[Channel]],
    rule: Rule,
    ledger: Ledger,
) -> list[Part]:
    """The parts with the channels that are still wanted; entries without any are dropped."""
    narrowed = []
    for part in parts:
        wanted: set[Channel] = set()
        kept = []
        for entry in part.entries:
            channels = set(part.command.consented_channels()) - withdrawn(entry)
            if channels:
                kept.append(entry)
                wanted |= channels
            else:
                ledger.settle((entry,), Dropped(rule))
        if kept:
            command = replace(part.command, channels=tuple(sorted(wanted)))
            narrowed.append(Part(tuple(kept), command))
    return narrowed
