"""Groups of profiles: lists and segments. Not thread-safe: the store's lock guards them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from .ids import IdMaker


class Group(msgspec.Struct):
    """A name and its members."""

    id: str
    name: str
    created: float
    updated: float
    members: dict[str, float] = {}
    """Profile id to the instant of joining (epoch seconds)."""

    def add(self, profile_id: str, now: float) -> None:
        """Let someone join; who is in it already keeps the old instant."""
        self.members.setdefault(profile_id, now)


Kind = TypeVar("Kind", bound=Group)


class Groups(Generic[Kind]):
    """All groups of one kind by id."""

    def __init__(self, ids: IdMaker) -> None:
        """Start without any; `ids` names those to come."""
        self._ids = ids
        self._by_id: dict[str, Kind] = {}

    def __iter__(self) -> Iterator[Kind]:
        """Every group, oldest first."""
        return iter(self._by_id.values())

    def get(self, group_id: str) -> Kind | None:
        """The group with this id."""
        return self._by_id.get(group_id)

    def of(self, profile_id: str) -> list[Kind]:
        """The groups that someone is in."""
        return [one for one in self if profile_id in one.members]

    def move(self, source_id: str, target_id: str) -> None:
        """Give the memberships of one profile to another."""
        for one in self.of(source_id):
            one.add(target_id, one.members.pop(source_id))

    def forget(self, profile_id: str) -> None:
        """Take someone out of every group."""
        for one in self:
            one.members.pop(profile_id, None)
