"""What the producers ask for: every verb, drawn from a seed, each command with a key of its own.

The key travels with the command wherever Klaviyo takes something of ours (a property of an event or
of a profile, the source of a subscription), so that the oracle finds it in the sandbox's record.

Persons belong to one writer (a producer process) where order is promised for one writer only, and
are shared by all where many write at once: events, whose order nobody promises, and consent, whose
clock is one for all writers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

SHARED_LISTS = ("Members", "Readers", "Consent A", "Consent B")
"""Made before anything else; a consent list is never left by a member and never deleted."""

# What the sandbox refuses: with and without a pointer, or as a failed row of an import job.
POISONED = "poison-named"
POISONED_BLINDLY = "poison-unnamed"
ROTTEN = "poison-row"
VENOM = "poison-500"
POISONS = (POISONED, POISONED_BLINDLY, ROTTEN)

_PEOPLE_AT_ONCE = 6
# So many of a writer's commands later others take their place: a few commands for each of them.
_GENERATION = {"p": 60, "m": 200, "f": 360}


class Planned(Struct, frozen=True, kw_only=True):
    """A command that a writer means to give.

    Attributes:
        key: the writer's name and a number.
        lane: where it goes; a track with a profile also writes to `profiles`.
        person: the e-mail address, or "" for commands about a list.
        poison: what in it is refused, or "".
        step: rises with every identify of a person; 0 for other verbs.
    """

    key: str
    verb: str
    lane: str
    person: str
    arguments: dict[str, Any]
    poison: str = ""
    step: int = 0


class Workload:
    """The commands of one writer, one after the other.

    Args:
        lists: id by name of the shared lists.
    """

    def __init__(self, seed: str, writer: str, lists: dict[str, str]) -> None:
        self._random = random.Random(f"{seed}/{writer}")
        self._writer = writer
        self._lists = lists
        self._number = 0
        # Taking a refused request apart costs requests, of which Klaviyo takes 150 a minute.
        self._poisoned = 0.012
        self._made_lists: list[str] = []
        self._members: set[tuple[str, str]] = set()
        self._subscribed: set[tuple[str, str]] = set()
        self._choices: list[Callable[[str], Planned]] = []
        self._weights: list[int] = []
        for weight, choice in (
            (38, self._track),
            (4, self._track_once),
            (6, self._track_with_profile),
            (24, self._identify),
            (9, self._member),
            (1, self._list),
            (14, self._consent),
            (3, self._suppression),
            (5, self._forgettable),
        ):
            self._choices.append(choice)
            self._weights.append(weight)

    def next(self) -> Planned:
        """The next command."""
        choice = self._random.choices(self._choices, self._weights)[0]
        return choice(self._key())

    def rows(self, count: int) -> list[Planned]:
        """The next commands of a batch load: events and profiles only."""
        self._poisoned = 0.003
        makers = (self._track, self._identify)
        return [self._random.choices(makers, (3, 1))[0](self._key()) for _ in range(count)]

    def _key(self) -> str:
        self._number += 1
        return f"{self._writer}-{self._number}"

    def _own(self, kind: str) -> str:
        """One of the few persons of this writer's present generation."""
        generation = self._number // _GENERATION[kind]
        number = self._random.randrange(_PEOPLE_AT_ONCE)
        return f"{kind}{generation}x{number}.{self._writer}@shop.io"

    def _poison(self, *kinds: str) -> str:
        return self._random.choice(kinds) if self._random.random() < self._poisoned else ""

    def _track(self, key: str) -> Planned:
        person = f"e{self._random.randrange(300)}@shop.io"
        poison = self._poison(POISONED, POISONED_BLINDLY, VENOM)
        arguments: dict[str, Any] = {
            "metric": self._random.choice(("Placed Order", "Viewed Product")),
            "email": person,
            "properties": {"key": key, "note": poison},
        }
        if self._random.random() < 0.3:
            arguments["unique_id"] = f"u-{key}"
        return Planned(
            key=key,
            verb="track",
            lane="events",
            person=person,
            arguments=arguments,
            poison=poison,
        )

    def _track_once(self, key: str) -> Planned:
        person = f"o{self._random.randrange(30)}@shop.io"
        arguments = {"metric": "Signed Up", "email": person, "properties": {"key": key}}
        return Planned(
            key=key, verb="track_once", lane="events", person=person, arguments=arguments
        )

    def _track_with_profile(self, key: str) -> Planned:
        person = self._own("p")
        arguments = {
            "metric": "Placed Order",
            "email": person,
            "properties": {"key": key},
            "profile": {"properties": {"step": self._number, key: True}},
        }
        return Planned(
            key=key,
            verb="track",
            lane="events",
            person=person,
            arguments=arguments,
            step=self._number,
        )

    def _identify(self, key: str) -> Planned:
        person = self._own("p")
        poison = self._poison(POISONED, POISONED_BLINDLY, ROTTEN)
        if poison:
            person = f"poison.{key}@shop.io"
        arguments: dict[str, Any] = {
            "email": person,
            "properties": {"step": self._number, key: poison or True},
        }
        if self._random.random() < 0.2:
            arguments["unset"] = ["obsolete"]
        if self._random.random() < 0.2:
            arguments["append"] = {"tags": key}
        return Planned(
            key=key,
            verb="identify",
            lane="profiles",
            person=person,
            arguments=arguments,
            poison=poison,
            step=self._number,
        )

    def _member(self, key: str) -> Planned:
        person = self._own("m")
        name = self._random.choice(SHARED_LISTS[:2])
        joins = (person, name) not in self._members or self._random.random() < 0.3
        (self._members.add if joins else self._members.discard)((person, name))
        by_name = self._random.random() < 0.3
        where = {"list_name": name} if by_name else {"list_id": self._lists[name]}
        verb = "add_to_list" if joins else "remove_from_list"
        return Planned(
            key=key, verb=verb, lane="lists", person=person, arguments={**where, "email": person}
        )

    def _list(self, key: str) -> Planned:
        """Make a list, give it another name, delete it: each only once, in this order."""
        if self._made_lists and self._random.random() < 0.5:
            name = self._made_lists.pop()
            if name.endswith(" again"):
                arguments, verb = {"list_name": name}, "delete_list"
            else:
                arguments, verb = {"list_name": name, "new_name": f"{name} again"}, "rename_list"
                self._made_lists.append(f"{name} again")
        else:
            arguments, verb = {"list_name": f"List {key}"}, "create_list"
            self._made_lists.append(f"List {key}")
        return Planned(key=key, verb=verb, lane="lists", person="", arguments=arguments)

    def _consenting(self) -> tuple[int, str, str]:
        number = self._number // 40 * 8 + self._random.randrange(12)
        return number, f"c{number}@shop.io", f"+1555{2_000_000 + number}"

    def _consent(self, key: str) -> Planned:
        """Give or withdraw consent, on a list or everywhere, for e-mail or also for texts."""
        number, person, phone = self._consenting()
        # Three kinds of persons: one a list, one everywhere, and one whom a list does not know.
        kind = number % 3
        name = SHARED_LISTS[2 + number % 2]
        arguments: dict[str, Any] = {"email": person}
        if kind == 1 and number % 2:
            arguments |= {"phone_number": phone, "channels": ["email", "sms"]}
        gives = self._random.random() < 0.6
        if kind == 0 or (kind == 2 and not gives and self._random.random() < 0.4):
            arguments["list_id"] = self._lists[name]
        if gives and self._random.random() < 0.6:
            arguments["source"] = key
        verb = "subscribe" if gives else "unsubscribe"
        return Planned(key=key, verb=verb, lane="consent", person=person, arguments=arguments)

    def _suppression(self, key: str) -> Planned:
        person = f"s{self._number // 200}x{self._random.randrange(30)}@shop.io"
        verb = self._random.choice(("suppress", "suppress", "unsuppress"))
        return Planned(
            key=key, verb=verb, lane="consent", person=person, arguments={"email": person}
        )

    def _forgettable(self, key: str) -> Planned:
        """Commands for persons who will be forgotten, and the deletion itself."""
        person = self._own("f")
        chance = self._random.random()
        if chance < 0.25:
            return Planned(
                key=key,
                verb="delete_profile",
                lane="privacy",
                person=person,
                arguments={"email": person},
            )
        if chance < 0.6:
            arguments: dict[str, Any] = {
                "metric": "Viewed Product",
                "email": person,
                "properties": {"key": key},
            }
            return Planned(key=key, verb="track", lane="events", person=person, arguments=arguments)
        if chance < 0.85:
            arguments = {"email": person, "properties": {"step": self._number, key: True}}
            return Planned(
                key=key,
                verb="identify",
                lane="profiles",
                person=person,
                arguments=arguments,
                step=self._number,
            )
        arguments = {"email": person, "list_id": self._lists["Readers"]}
        return Planned(
            key=key, verb="add_to_list", lane="lists", person=person, arguments=arguments
        )
