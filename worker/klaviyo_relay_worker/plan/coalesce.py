"""Coalescing: several identifies of one profile become one, where the effect is the same."""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from klaviyo_relay.commands import PROFILE_ATTRIBUTES, Identify
from klaviyo_relay.errors import InvalidCommandError

Value = TypeVar("Value")

_identifiers_of = attrgetter("email", "phone_number", "external_id", "profile_id")
_lists_of = attrgetter("append", "unappend")
_attributes_of = attrgetter(*PROFILE_ATTRIBUTES)


def coalesce(first: Identify, second: Identify) -> Identify | None:
    """One identify with the effect of `first` and then `second`, or None where that is not certain.

    Certain it is for commands with equal identifiers that set and unset; appending to a list is not
    folded, nor are two different locations, since Klaviyo does not say how it merges them, nor two
    commands that together break a limit of Klaviyo's.
    """
    if not _is_certain(first, second):
        return None
    cleared = frozenset(second.unset or ())
    try:
        return msgspec.structs.replace(
            first,
            **_attributes(first, second, cleared),
            location=_later(
                first.location, second.location or None, is_cleared="location" in cleared
            ),
            properties=_properties(first, second, cleared),
            unset=_unset(first, second, cleared),
        )
    except InvalidCommandError:
        return None


def _is_certain(first: Identify, second: Identify) -> bool:
    has_lists = any(_lists_of(first)) or any(_lists_of(second))
    places = (first.location, second.location)
    return (
        _identifiers_of(first) == _identifiers_of(second)
        and not has_lists
        and (not all(places) or places[0] == places[1])
    )


def _attributes(
    first: Identify, second: Identify, cleared: Collection[str]
) -> dict[str, str | None]:
    values = zip(PROFILE_ATTRIBUTES, _attributes_of(first), _attributes_of(second), strict=True)
    return {name: _later(old, new, is_cleared=name in cleared) for name, old, new in values}


def _later(first: Value | None, second: Value | None, *, is_cleared: bool) -> Value | None:
    if second is not None:
        return second
    return None if is_cleared else first


def _properties(
    first: Identify, second: Identify, cleared: Collection[str]
) -> dict[str, Any] | None:
    kept = first.properties or {}
    if cleared:
        kept = {name: value for name, value in kept.items() if name not in cleared}
    return {**kept, **(second.properties or {})} or None


def _unset(first: Identify, second: Identify, cleared: Collection[str]) -> list[str] | None:
    """What either clears, but for what the second sets again."""
    still = {name for name in first.unset or () if not _sets(second, name)}
    return sorted(still.union(cleared)) or None


def _sets(identify: Identify, name: str) -> bool:
    if name in (identify.properties or ()):
        return True
    if name == "location":
        return bool(identify.location)
    return name in PROFILE_ATTRIBUTES and getattr(identify, name) is not None
