"""What an old track or identify payload is today: the mapping behind `klaviyo_relay.legacy`.

The table is Klaviyo's own guide from v1/v2 to the present API; docs/migrating.md repeats it.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from klaviyo_relay import validation
from klaviyo_relay.commands import (
    TRACK_ONCE_ID,
    AddToList,
    Command,
    Identify,
    Subscribe,
    Track,
    construct,
)
from klaviyo_relay.errors import InvalidCommandError

# This module and those that applications call.
_OURS = ("klaviyo_relay.legacy", "klaviyo_relay_worker.legacy")
TRACK_ONCE_KEY = "__track_once__"
# Old name -> where it goes today: the person's identifiers, the profile, or its location.
_IDENTIFIERS = {
    "$email": "email",
    "email": "email",
    "$phone_number": "phone_number",
    "phone_number": "phone_number",
    "$id": "external_id",
    "id": "external_id",
    "$anonymous": "anonymous_id",
}
_ATTRIBUTES = {
    f"${name}": name
    for name in ("first_name", "last_name", "organization", "title", "image", "locale")
}
_LOCATION = {
    f"${name}": name
    for name in ("address1", "address2", "city", "region", "country", "zip", "latitude",
                 "longitude", "timezone")
}  # fmt: skip
_KNOWN = {*_IDENTIFIERS, *_ATTRIBUTES, *_LOCATION}
_CHANGES = ("$unset", "$append", "$unappend")
_CONSENT = ("$consent", "sms_consent", "$consent_timestamp", "$source")
_CHANNELS = ("email", "sms")
_CHANNELS_GONE = ("web", "directmail", "mobile")
_NO_TARGET = {
    "push_token": "a push token needs its platform and vendor today: POST /api/push-tokens",
    "$exchange_id": "the relay knows profiles by email, phone_number, external_id or profile_id",
    "_kx": "the relay knows profiles by email, phone_number, external_id or profile_id",
}
_EVENT = {
    "$event_id": "unique_id",
    "$value": "value",
    "$value_currency": "value_currency",
    "$currency_code": "value_currency",
}
_PAYLOAD = ("token", "event", "customer_properties", "properties", "time", "timestamp", "ip")


class LegacyWarning(UserWarning):
    """A member of an old call has no target in Klaviyo's present API and was left out."""


@dataclass
class Person:
    """Old customer properties, taken apart.

    Attributes:
        who: identifiers, by their names of today.
        profile: further arguments of `Identify`.
        channels: of consent; None where no consent was given.
        consent: further arguments of `Subscribe`.
    """

    who: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    channels: list[str] | None = None
    consent: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, old: Mapping[str, Any] | None, **given: Any) -> Person:
        """From old properties; `given` are identifiers that stood beside them, and win."""
        person = cls()
        # Names with a $ first: where both were given, Klaviyo's SDK sent the plain one.
        for key, value in sorted(mapping(name, old).items(), key=lambda pair: pair[0][:1] != "$"):
            person._take(f"{name}.{validation.printable(key)}", key, value)
        person.who.update({key: _text(value) for key, value in given.items() if value})
        if person.consent and person.channels is None:
            left_out(f"{name}.$source, $consent_timestamp", "mean something beside $consent only")
        return person

    def _take(self, path: str, key: str, value: Any) -> None:
        if key in _CONSENT:
            self._take_consent(path, key, value)
        elif key in _NO_TARGET:
            left_out(path, _NO_TARGET[key])
        elif key.startswith("$locale_"):
            left_out(path, "is derived from $locale by Klaviyo")
        elif key in _CHANGES:
            self.profile[key[1:]] = names(path, value) if key == "$unset" else value
        elif key in _KNOWN:
            self._take_known(key, value)
        else:
            self.profile.setdefault("properties", {})[key] = value

    def _take_known(self, key: str, value: Any) -> None:
        if value is None or value == "":
            return  # not given, as everywhere in klaviyo-relay; $unset clears
        if key in _IDENTIFIERS:
            self.who[_IDENTIFIERS[key]] = _text(value)
        elif key in _ATTRIBUTES:
            self.profile[_ATTRIBUTES[key]] = value
        else:
            self.profile.setdefault("location", {})[_LOCATION[key]] = value

    def _take_consent(self, path: str, key: str, value: Any) -> None:
        if key == "$consent":
            for channel in [value] if isinstance(value, str) else items(path, value):
                self._consent_to(path, channel)
        elif key == "$consent_timestamp":
            self.consent["consented_at"] = _moment(path, value)
        elif key == "$source":
            self.consent["source"] = value
        elif value:
            self._consent_to(path, "sms")
        else:
            left_out(path, "asks for nothing; unsubscribe withdraws a consent")

    def _consent_to(self, path: str, channel: object) -> None:
        if channel in _CHANNELS_GONE:
            left_out(path, f"consent to {channel} has no target; email and sms have")
            return
        if channel not in _CHANNELS:
            raise InvalidCommandError(path, f"must name channels: {', '.join(_CHANNELS)}")
        self.channels = self.channels or []
        if channel not in self.channels:
            self.channels.append(str(channel))

    def identify(self) -> Identify:
        """What is to be known of the profile."""
        who = dict(self.who)
        if who.pop("anonymous_id", None) is not None:
            left_out("$anonymous", "is an identifier of events only")
        return construct(Identify, {**who, **self.profile})

    def subscribe(self, **where: Any) -> Subscribe:
        """The consent given, for the channels it was given for."""
        channels = self.channels or ["email"]
        needed = {"email": "email", "sms": "phone_number"}
        who = {needed[channel]: self.who.get(needed[channel]) for channel in channels}
        return construct(Subscribe, {**where, **who, "channels": channels, **self.consent})

    def member(self) -> dict[str, Any]:
        """The identifiers by which a list knows its members."""
        return {key: self.who[key] for key in AddToList.identifiers if key in self.who}


def to_commands(old_payload: Mapping[str, Any]) -> list[Command]:
    """The commands that say today what an old track or identify payload said.

    Args:
        old_payload: `{"token", "event", "customer_properties", "properties", "time", "ip"}` for
            track, `{"token", "properties"}` for identify; `time` is in Unix seconds. The token is
            not used: `account=` of a verb chooses the account, workers hold its key.

    Returns:
        For track: an `Identify` if there is more to know of the profile than its identifiers, the
        `Track`, and a `Subscribe` if it brought a consent. For identify the same without a `Track`.

    Raises:
        InvalidCommandError: names the field of today, or the old one that cannot be mapped.
    """
    for key in mapping("payload", old_payload):
        if key not in _PAYLOAD:
            known = ", ".join(_PAYLOAD)
            raise InvalidCommandError(validation.printable(key), f"is unknown; known are {known}")
    if "event" not in old_payload:
        return identify_commands(Person.of("properties", old_payload.get("properties")))
    person = Person.of("customer_properties", old_payload.get("customer_properties"))
    if old_payload.get("ip"):
        person.profile.setdefault("location", {})["ip"] = old_payload["ip"]
    event: dict[str, Any] = {**person.who, "metric": old_payload["event"]}
    _take_event(event, old_payload.get("properties"))
    at = old_payload.get("timestamp")
    at = old_payload.get("time") if at is None else at
    if at is not None:
        event["time"] = _moment("time", at)
    found: list[Command] = [person.identify()] if person.profile else []
    found.append(construct(Track, event))
    return found if person.channels is None else [*found, person.subscribe()]


def identify_commands(person: Person) -> list[Command]:
    """What an old identify is today."""
    found: list[Command] = [person.identify()]
    return found if person.channels is None else [*found, person.subscribe()]


def _take_event(event: dict[str, Any], properties: Mapping[str, Any] | None) -> None:
    kept = dict(mapping("properties", properties))
    for old, new in _EVENT.items():
        value = kept.pop(old, None)
        if value is not None:
            event[new] = _text(value) if new == "unique_id" else value
    if kept.pop(TRACK_ONCE_KEY, False):
        event["unique_id"] = TRACK_ONCE_ID
    if kept:
        event["properties"] = kept


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """A dict with string keys, or the empty one for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidCommandError(
            name, f"must be a dict with string keys, not {type(value).__name__}"
        )
    return value


def items(name: str, value: object) -> list[Any]:
    """A list of what an iterable gives; None is an empty one, one string is a mistake."""
    if value is None:
        return []
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidCommandError(name, f"must be a list, not one {type(value).__name__}")
    return list(value)


def names(path: str, value: object) -> list[str]:
    """Names of properties to unset: a list, one name, or (as v1 took them) a list as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.startswith("[") else [value]
        except ValueError:
            raise InvalidCommandError(path, "must be a list of property names") from None
    found: dict[str, None] = {}
    for name in items(path, value):
        if not isinstance(name, str):
            raise InvalidCommandError(path, "must be a list of property names")
        if name in _LOCATION:
            raise InvalidCommandError(
                f"{path}.{name}", "cannot be cleared alone; unset=['location'] clears all of it"
            )
        found[_ATTRIBUTES.get(name, name)] = None
    return list(found)


def _text(value: Any) -> Any:
    """An id that was a number is text today."""
    return str(value) if type(value) is int else value


def _moment(name: str, value: Any) -> Any:
    """Unix seconds as a moment; a datetime without a zone is local time, as the old SDK took it."""
    if isinstance(value, datetime):
        return value.astimezone() if value.tzinfo is None else value
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        return value
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise InvalidCommandError(name, "must be Unix seconds or a datetime") from None


def left_out(path: str, reason: str) -> None:
    """Say that a member has no target."""
    warn(f"{path} was left out: {reason}", LegacyWarning)


def deprecated(old: str, new: str) -> None:
    """Say what to write instead."""
    warn(f"{old} is the retired SDK's form; write {new}", DeprecationWarning)


def warn(message: str, category: type[Warning]) -> None:
    """Warn where these modules were called from, however deep we are in them."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
