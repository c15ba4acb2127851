"""The lists and their members. Not thread-safe: the store's lock guards it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .ids import IdMaker

DOUBLE_OPT_IN, SINGLE_OPT_IN = "double_opt_in", "single_opt_in"


class MailingList(msgspec.Struct):
    """One list."""

    id: str
    name: str
    opt_in_process: str
    created: float
    updated: float
    members: dict[str, float] = {}
    """Profile id to the instant of joining (epoch seconds)."""

    def add(self, profile_id: str, now: float) -> None:
        """Let someone join; who is on it already keeps the old instant."""
        self.members.setdefault(profile_id, now)


class Lists:
    """All lists by id."""

    def __init__(self, ids: IdMaker) -> None:
        """Start without any; `ids` names the lists to come."""
        self._ids = ids
        self._by_id: dict[str, MailingList] = {}

    def __iter__(self) -> Iterator[MailingList]:
        """Every list, oldest first."""
        return iter(self._by_id.values())

    def get(self, list_id: str) -> MailingList | None:
        """The list with this id."""
        return self._by_id.get(list_id)

    def named(self, wanted: str) -> MailingList | None:
        """The first list with this id or name."""
        known = self._by_id.get(wanted)
        return known or next((one for one in self if one.name == wanted), None)

    def create(self, name: str, opt_in_process: str | None, now: float) -> MailingList:
        """A new list; names need not be unique. Single opt-in unless said otherwise.

        Klaviyo takes the account's default here; the sandbox's account defaults to single.
        """
        made = MailingList(self._ids.short(), name, opt_in_process or SINGLE_OPT_IN, now, now)
        self._by_id[made.id] = made
        return made

    def delete(self, list_id: str) -> None:
        """Forget a list."""
        del self._by_id[list_id]

    def of(self, profile_id: str) -> list[MailingList]:
        """The lists that someone is on."""
        return [one for one in self if profile_id in one.members]

    def move(self, source_id: str, target_id: str) -> None:
        """Give the memberships of one profile to another."""
        for one in self.of(source_id):
            one.add(target_id, one.members.pop(source_id))

    def forget(self, profile_id: str) -> None:
        """Take someone off every list."""
        for one in self:
            one.members.pop(profile_id, None)
