"""Coalescing: several identifies of one profile become one, where the effect is the same."""

from __future__ import annotations

import msgspec

from klaviyo_relay.commands import PROFILE_ATTRIBUTES, Identify
from klaviyo_relay.errors import InvalidCommandError

_IDENTIFIERS = ("email", "phone_number", "external_id", "profile_id")


def coalesce(first: Identify, second: Identify) -> Identify | None:
    """One identify with the effect of `first` and then `second`, or None where that is not certain.

    Certain it is for commands with equal identifiers that set and unset; appending to a list is not
    folded, nor are two different locations, since Klaviyo does not say how it merges them, nor two
    commands that together break a limit of Klaviyo's.
    """
    if any(getattr(first, name) != getattr(second, name) for name in _IDENTIFIERS):
        return None
    if first.append or first.unappend or second.append or second.unappend:
        return None
    if first.location and second.location and first.location != second.location:
        return None
    cleared = set(second.unset or ())
    attributes = {
        name: _later(getattr(first, name), getattr(second, name), is_cleared=name in cleared)
        for name in PROFILE_ATTRIBUTES
    }
    kept = {k: v for k, v in (first.properties or {}).items() if k not in cleared}
    properties = {**kept, **(second.properties or {})}
    set_later = {name for name in PROFILE_ATTRIBUTES if getattr(second, name) is not None}
    set_later |= set(second.properties or ())
    set_later |= {"location"} if second.location else set()
    unset = (set(first.unset or ()) - set_later) | cleared
    try:
        return msgspec.structs.replace(
            first,
            **attributes,
            location=None if "location" in cleared else second.location or first.location,
            properties=properties or None,
            unset=sorted(unset) or None,
        )
    except InvalidCommandError:
        return None


def _later(first: str | None, second: str | None, *, is_cleared: bool) -> str | None:
    if second is not None:
        return second
    return None if is_cleared else first
