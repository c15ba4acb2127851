"""What the call of a verb is in commands: for the verbs, and for doors that know it by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from klaviyo_relay import validation
from klaviyo_relay.commands import PROFILE_ATTRIBUTES, Command, Identify, Track, build, construct
from klaviyo_relay.errors import InvalidCommandError

_PROFILE_FIELDS = (
    *PROFILE_ATTRIBUTES, "location", "properties", "unset", "append", "unappend",
    "email", "phone_number", "external_id",
)  # fmt: skip


def commands_of(verb: str, arguments: Mapping[str, Any]) -> list[Command]:
    """The commands of a verb with keyword arguments as its method takes them.

    Raises:
        InvalidCommandError: as the verb itself.
    """
    given = dict(arguments)
    profile = given.pop("profile", None) if verb == "track" else None
    command = build(verb, given)
    if profile and isinstance(command, Track):
        return [*with_profile(command, profile)]
    return [command]


def with_profile(event: Track, profile: Mapping[str, Any]) -> tuple[Identify, Track]:
    """What `track(profile=…)` sends: the attributes in a command of their own, then the event.

    Raises:
        InvalidCommandError: the profile holds what `identify` does not take, or the event names
            nobody whom `identify` knows.
    """
    if not isinstance(profile, Mapping):
        raise InvalidCommandError("profile", f"must be a dict, not {type(profile).__name__}")
    given = {name: getattr(event, name) for name in Identify.identifiers}
    who = {name: value for name, value in given.items() if value is not None}
    if not who:
        raise InvalidCommandError(
            "profile", "needs an email, phone_number, external_id or profile_id"
        )
    for name in profile:
        if name in who:
            raise InvalidCommandError(f"profile.{name}", "is given beside profile already")
        if name not in _PROFILE_FIELDS:
            raise InvalidCommandError(
                f"profile.{validation.printable(name)}",
                f"is unknown; known are {', '.join(_PROFILE_FIELDS)}; others go into properties",
            )
    return construct(Identify, {**who, **profile}), event
