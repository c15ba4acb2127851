"""What Klaviyo checks beyond the shape of a body.

Figures: `x-limits` (prose of Klaviyo OpenAPI 2026-07-15 and its events guide); sizes are
taken as decimal, the smaller reading. Phone numbers are judged by E.164's form alone;
Klaviyo also knows number plans.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .bodies import (
    BulkEventAttributes,
    CreateAttributes,
    EventProfile,
    Meta,
    OldEventProfile,
    ProfileImport,
    Text,
)
from .decoding import decode
from .errors import Beneath, invalid
from .ledger import NewEvent
from .people import IDENTIFIERS, NO_PATCH, Patch, Who
from .times import EARLIEST_EVENT, YEAR_SECONDS, instant

MAX_BODY_BYTES = 5_000_000
MAX_EVENTS, MAX_IMPORT_ROWS, MAX_MEMBERS = 1_000, 10_000, 1_000
MAX_SUBSCRIBERS, MAX_UNSUBSCRIBERS, MAX_SUPPRESSED = 1_000, 100, 100
MAX_PROFILE_BYTES = 100_000
_MAX_EVENT_PROFILE_BYTES = 95_000
_MAX_EMAIL = 100
_MAX_METRIC_NAME = 127
_MAX_UNIQUE_ID = 255
_MAX_PROPERTIES, _MAX_STRING_BYTES, _MAX_ITEMS, _MAX_DEPTH = 400, 100_000, 4_000, 10
_INT64 = range(-(2**63), 2**63)

_EMAIL = re.compile(r"[^@\s,;<>()\"]+@[^@\s.,;<>()\"]+(\.[^@\s.,;<>()\"]+)+")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DROPPED_DOMAINS = ("@example.com", "@example.net", "@example.org", "@test.com")

_SURELY_SMALL_BYTES = 2_000
"""Too short for 401 properties (six bytes each) or for a string or array above the limit."""
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19
"""Once all digits are zeros: a number that may need more than 64 bits."""

_KINDS = frozenset(IDENTIFIERS)
_encode = msgspec.json.encode
_properties = msgspec.json.Decoder(dict[str, Any])


def silently_dropped(who: Who) -> bool:
    """Whether Klaviyo answers 202 for an event of this person and then drops it.

    Its events guide names @example.com, @test.com "and the like"; the reserved siblings of
    the first are counted among them here.
    """
    return who.email is not None and who.email.endswith(_DROPPED_DOMAINS)


def checked_email(text: str, pointer: str) -> str:
    """`text` in lower case; refuses what is malformed or longer than 100 characters."""
    if len(text) > _MAX_EMAIL or not _EMAIL.fullmatch(text):
        raise invalid("Invalid email address.", pointer)
    return text.lower()


def checked_phone(text: str, pointer: str) -> str:
    """`text`, if it is a number in E.164 form."""
    if not _E164.fullmatch(text):
        raise invalid("Invalid phone number format (must be E.164, like +15551234567).", pointer)
    return text


def identifiers(
    attributes: CreateAttributes, profile_id: str | None, pointer: str, *, lenient_phone: bool
) -> Who:
    """The identifiers in `attributes`, at least one.

    With `lenient_phone` a bad phone beside a good email is dropped without a word (events
    guide; seen with bulk imports), alone it is refused.
    """
    email = given_email(attributes.email, pointer)
    lenient = lenient_phone and email is not None
    who = Who(
        profile_id or None,
        email,
        given_phone(attributes.phone_number, pointer, lenient=lenient),
        attributes.external_id or None,
        getattr(attributes, "anonymous_id", None) or None,
    )
    if not (who.anyone() or getattr(attributes, "kx", None)):
        raise invalid("One of id, email, phone_number or external_id is required.", pointer)
    return who


def given_email(text: Text, pointer: str) -> str | None:
    """A checked email, or none; `pointer` leads to the attributes that it stands among."""
    return checked_email(text, f"{pointer}/email") if text else None


def given_phone(text: Text, pointer: str, *, lenient: bool = False) -> str | None:
    """A checked phone number, or none: if `lenient`, for a bad one, too."""
    if not text or (lenient and not _E164.fullmatch(text)):
        return None
    return checked_phone(text, f"{pointer}/phone_number")


def patch(attributes: CreateAttributes, meta: Meta | None, pointer: str) -> Patch:
    """What a profile body changes beside identifiers."""
    given = msgspec.to_builtins(attributes)
    if meta is None and given.keys() <= _KINDS and None not in given.values():
        return NO_PATCH  # identifiers only, as most events have it
    cleared = tuple(kind for kind in IDENTIFIERS if given.pop(kind, kind) is None)
    given.pop("_kx", None)
    given.pop("meta", None)
    if properties := given.get("properties"):
        check_properties(properties, f"{pointer}/properties")
    made = Patch(given, cleared, *_single_changes(meta))
    return NO_PATCH if made.empty() else made


def _single_changes(meta: Meta | None) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """The changes to single properties: append, unappend, unset."""
    changes = meta.patch_properties if meta else None
    if changes is None:
        return {}, {}, ()
    return changes.append or {}, changes.unappend or {}, _names(changes.unset)


def _names(given: str | list[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def import_row(row: ProfileImport, raw_bytes: int, *, lenient_phone: bool) -> tuple[Who, Patch]:
    """One profile of profile-import or of a bulk import; pointers relative to the row."""
    if raw_bytes > MAX_PROFILE_BYTES:
        raise invalid("The profile is larger than 100 KB.")
    at = "/attributes"
    who = identifiers(row.attributes, row.id, at, lenient_phone=lenient_phone)
    return who, patch(row.attributes, row.meta, at)


def event_profile(profile: EventProfile | OldEventProfile, raw_bytes: int) -> tuple[Who, Patch]:
    """The profile of an event; pointers relative to it. `raw_bytes`: of all around it."""
    if raw_bytes > _MAX_EVENT_PROFILE_BYTES and len(_encode(profile)) > _MAX_EVENT_PROFILE_BYTES:
        raise invalid("The profile of an event must not be larger than 95 KB.")
    at = "/attributes"
    who = identifiers(profile.attributes, profile.id, at, lenient_phone=True)
    if isinstance(profile, OldEventProfile):
        return who, patch(profile.attributes, profile.attributes.meta, at)
    return who, patch(profile.attributes, profile.meta, at)


def event(attributes: BulkEventAttributes, now: float) -> NewEvent:
    """An event; pointers relative to its `attributes`. Without a time it happened now."""
    name = attributes.metric.data.attributes.name
    if not 1 <= len(name) <= _MAX_METRIC_NAME:
        raise invalid("A metric name has 1 to 127 characters.", "/metric/data/attributes/name")
    unique_id = attributes.unique_id
    if unique_id is not None and not 1 <= len(unique_id) <= _MAX_UNIQUE_ID:
        raise invalid("A unique_id has 1 to 255 characters.", "/unique_id")
    currency = attributes.value_currency
    if currency is not None and not _CURRENCY.fullmatch(currency):
        raise invalid("A value_currency is an ISO 4217 code.", "/value_currency")
    time = int(now) if attributes.time is None else _event_time(attributes.time, now)
    properties = _event_properties(attributes.properties)
    return NewEvent(name, time, attributes.value, currency, unique_id, properties)


def _event_time(text: str, now: float) -> int:
    """Whole seconds: Klaviyo truncates (Klaviyo OpenAPI 2026-07-15)."""
    moment = instant(text)
    if moment is None:
        raise invalid("A time is an ISO 8601 date and time.", "/time")
    if not EARLIEST_EVENT <= moment <= now + YEAR_SECONDS:
        raise invalid("A time lies after 1990 and at most a year ahead.", "/time")
    return int(moment)


def _event_properties(raw: msgspec.Raw) -> bytes:
    """The properties of an event as JSON text, checked.

    Short ASCII text with few braces and no long number cannot break a limit, and to see that
    costs a tenth of taking it apart.
    """
    text = bytes(raw)
    harmless = (
        len(text) < _SURELY_SMALL_BYTES
        and text.startswith(b"{")
        and text.isascii()  # raw parts are not checked to be UTF-8
        and text.count(b"{") <= _MAX_DEPTH
        and _LONG_NUMBER not in text.translate(_ZEROS)
    )
    if not harmless:
        with Beneath("/properties"):
            properties = decode(_properties, text)
        check_properties(properties, "/properties")
    return text


def check_properties(properties: dict[str, Any], pointer: str) -> None:
    """Refuse properties beyond the documented limits."""
    if len(properties) > _MAX_PROPERTIES:
        raise invalid("There are more than 400 properties.", pointer)
    for name, value in properties.items():
        with Beneath(f"{pointer}/{name}"):
            _check_value(value, 1)


def _check_value(value: object, depth: int) -> None:
    """`depth` counts the objects around `value`, the properties themselves included."""
    if isinstance(value, str):
        # Four bytes a character at most, so that short strings need no encoding.
        if len(value) * 4 > _MAX_STRING_BYTES and len(value.encode()) > _MAX_STRING_BYTES:
            raise invalid("A string is larger than 100 KB.")
    elif isinstance(value, int):
        if value not in _INT64:
            raise invalid("A number does not fit into 64 bits.")
    elif isinstance(value, list):
        if len(value) > _MAX_ITEMS:
            raise invalid("An array has more than 4000 items.")
        for item in value:
            _check_value(item, depth)
    elif isinstance(value, dict):
        _check_object(value, depth + 1)


def _check_object(value: dict[str, Any], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise invalid("Objects are nested more than 10 deep.")
    for item in value.values():
        _check_value(item, depth)
