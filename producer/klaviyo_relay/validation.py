"""The rules that Klaviyo sets for values, checked where the application can still react.

Each function takes the field's name and its value, and returns the value in wire form or raises
`InvalidCommandError` with the name and the rule. Values never appear in messages.

A value of a class that somebody has made of a string, a number or a date (Django's SafeString, a
StrEnum, numpy.float64, pandas.Timestamp) counts as what it was made of.

Limits are Klaviyo's: API overview of events and profiles, and the OpenAPI document of revision
2026-07-15. Sizes are decimal (the smaller reading of "100 KB" and "5 MB").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from klaviyo_relay.errors import InvalidCommandError

EMAIL_MAX_CHARACTERS = 100
METRIC_MAX_CHARACTERS = 127
UNIQUE_ID_MAX_CHARACTERS = 255
STRING_MAX_BYTES = 100_000
PROPERTIES_MAX = 400
ARRAY_MAX_ITEMS = 4_000
NESTING_MAX = 10
# A request is limited to 5 MB; a command keeps some room for what goes around it.
COMMAND_MAX_BYTES = 4_900_000
PROFILE_MAX_BYTES = 100_000
EARLIEST_TIME = datetime(1990, 1, 1, tzinfo=UTC)
# Clocks differ: a worker's may be behind that of the application whose command it reads.
CLOCK_TOLERANCE = timedelta(minutes=5)
LATEST_TIME_AHEAD = timedelta(days=365)

_EMAIL = re.compile(
    r"[^\s@,;:<>()\[\]\\\"\x00-\x20\x7f]+@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_][\w-]*[^\W_]"
)
# What nearly all addresses look like, told in half the time.
_USUAL_EMAIL = re.compile(
    r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}"
)
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_LIST_ID = re.compile(r"[A-Za-z0-9]{6}")
_ACCOUNT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NUMBER = "must be a finite number (int of 64 bits, float or Decimal)"
_SURROGATE = "has half a surrogate pair, which UTF-8 cannot carry"
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
# Characters are at most four bytes in UTF-8: below this many, nothing needs to be encoded to know.
_SURELY_SHORT = STRING_MAX_BYTES // 4

_TEXT_OR_NONE = (str, type(None))
LOCATION_FIELDS = frozenset(
    (
        "address1", "address2", "city", "country", "latitude", "longitude",
        "region", "zip", "timezone", "ip",
    )
)  # fmt: skip


def text(field: str, value: object, most: int = STRING_MAX_BYTES) -> str:
    """A non-empty string of at most `most` characters that UTF-8 can carry."""
    found = value if type(value) is str else _plain(value)
    if type(found) is not str:
        raise InvalidCommandError(field, f"must be a string, not {_kind(value)}")
    if not found or found.isspace():
        raise InvalidCommandError(field, "must not be empty; leave it out instead")
    if len(found) > most:
        raise InvalidCommandError(field, f"must have at most {most} characters, has {len(found)}")
    return _encodable(field, found)


def email(field: str, value: object) -> str:
    """An address of the form name@domain.tld, at most 100 characters."""
    if type(value) is str and len(value) <= EMAIL_MAX_CHARACTERS and _USUAL_EMAIL.fullmatch(value):
        return value
    address = text(field, value, EMAIL_MAX_CHARACTERS)
    if not _EMAIL.fullmatch(address) or ".." in address or ".@" in address or address[0] == ".":
        raise InvalidCommandError(field, "must be one address of the form name@domain.tld")
    return address


def phone_number(field: str, value: object) -> str:
    """A number in E.164: a plus sign, the country code, the number, and nothing else."""
    found = _plain(value)
    if type(found) is not str or not _PHONE.fullmatch(found):
        raise InvalidCommandError(field, "must be in E.164 form, like +15005550006")
    return found


def currency(field: str, value: object) -> str:
    """A currency code of ISO 4217: three capital letters."""
    found = _plain(value)
    if type(found) is not str or not _CURRENCY.fullmatch(found):
        raise InvalidCommandError(field, "must be an ISO 4217 code of three capitals, like USD")
    return found


def list_id(field: str, value: object) -> str:
    """Klaviyo's id of a list: six letters and digits, as its URL in Klaviyo shows it."""
    found = _plain(value)
    if type(found) is not str or not _LIST_ID.fullmatch(found):
        raise InvalidCommandError(
            field, "must be a list id of six letters and digits; give a name as list_name="
        )
    return found


def account(field: str, value: object) -> str:
    """A name for a Klaviyo account, as in KLAVIYO_API_KEY_<ACCOUNT>, in lower case."""
    found = _plain(value)
    if type(found) is not str or not _ACCOUNT.fullmatch(found):
        raise InvalidCommandError(
            field, "must be 1-32 lower-case letters, digits and underscores, a letter first"
        )
    return found


def boolean(field: str, value: object) -> bool:
    """True or False, and nothing that only behaves like them."""
    if type(value) is not bool:
        raise InvalidCommandError(field, f"must be True or False, not {_kind(value)}")
    return value


def number(field: str, value: object) -> int | float:
    """A finite number; a Decimal becomes the nearest float."""
    found: int | float = _plain(value)
    kind = type(found)
    if kind is int and _INT_MIN <= found <= _INT_MAX:
        return found
    if kind in (float, Decimal) and _is_finite(found):
        return float(found)
    what = "" if kind in (int, float, Decimal) else f", not {_kind(value)}"
    raise InvalidCommandError(field, _NUMBER + what)


def seconds(field: str, value: object) -> float:
    """How long to wait."""
    found: int | float = _plain(value)
    if type(found) in (int, float) and 0 <= found < math.inf:
        return found
    raise InvalidCommandError(field, "must be a finite number of seconds from 0 on")


def time(field: str, value: object) -> str:
    """A moment after 1990 and at most a year ahead, as ISO 8601 in UTC.

    The span is that of revision 2026-07-15. Unix seconds are refused as Klaviyo refuses them.
    """
    moment = _moment(field, value)
    if moment.tzinfo is None:
        raise InvalidCommandError(
            field, "must have a time zone, as in datetime.now(timezone.utc) or 2026-01-31T12:00:00Z"
        )
    try:
        moment = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        moment = EARLIEST_TIME
    if not EARLIEST_TIME < moment <= datetime.now(UTC) + LATEST_TIME_AHEAD:
        raise InvalidCommandError(field, "must be after 1990 and at most one year ahead")
    return datetime.isoformat(moment).replace("+00:00", "Z")  # in microseconds, whatever its class


def past_time(field: str, value: object) -> str:
    """A moment as `time` takes it that has passed already."""
    moment = time(field, value)
    if datetime.fromisoformat(moment) > datetime.now(UTC) + CLOCK_TOLERANCE:
        raise InvalidCommandError(field, "must be in the past")
    return moment


def _moment(field: str, value: object) -> datetime:
    if isinstance(value, datetime) and not _is_no_moment(value):
        return value
    found = _plain(value)
    if type(found) is str:
        try:
            return datetime.fromisoformat(found)
        except ValueError:
            pass  # said below, together with the other wrong forms
    raise InvalidCommandError(
        field,
        "must be a datetime with a time zone or an ISO 8601 string;"
        " turn Unix seconds into datetime.fromtimestamp(seconds, timezone.utc)",
    )


def properties(field: str, value: object) -> dict[str, Any]:
    """A JSON object within Klaviyo's limits: 400 properties, 100 KB a string, nesting of 10."""
    if not isinstance(value, Mapping):
        raise InvalidCommandError(field, f"must be a dict, not {_kind(value)}")
    if len(value) > PROPERTIES_MAX:
        raise InvalidCommandError(
            field, f"must have at most {PROPERTIES_MAX} properties, has {len(value)}"
        )
    return _nested(field, value)


def location(field: str, value: object) -> dict[str, Any]:
    """A location; its members are those of Klaviyo's profile location."""
    members = properties(field, value)
    for name, member in members.items():
        if name not in LOCATION_FIELDS:
            known = ", ".join(sorted(LOCATION_FIELDS))
            raise InvalidCommandError(
                f"{field}.{printable(name)}", f"is unknown; known are {known}"
            )
        is_coordinate = name in ("latitude", "longitude")
        if type(member) not in ((str, int, float, type(None)) if is_coordinate else _TEXT_OR_NONE):
            wanted = "a string or a number" if is_coordinate else "a string"
            raise InvalidCommandError(f"{field}.{name}", f"must be {wanted}")
    return members


def names(field: str, value: object) -> list[str]:
    """One or more names of properties."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidCommandError(field, "must be a list of property names")
    found = [text(f"{field}[{at}]", name) for at, name in enumerate(value)]
    if not 0 < len(found) <= PROPERTIES_MAX:
        raise InvalidCommandError(field, f"must name 1 to {PROPERTIES_MAX} properties")
    return found


def json_size(field: str, size: int, most: int) -> None:
    """Refuse a body of more than `most` bytes."""
    if size > most:
        raise InvalidCommandError(field, f"must have at most {most} bytes as JSON, has {size}")


def printable(name: object) -> str:
    """A short form of a property's name that cannot break a line or a log."""
    return str(name)[:40].encode("unicode_escape").decode("ascii") or '""'


def _plain(value: Any) -> Any:
    """The value as one of the type that its class was made of; all others as they are."""
    # By that type's own methods: the class may say something else, as enums do.
    if type(value) in _CONVERSIONS or _is_no_moment(value):
        return value
    return next((plain(value) for kind, plain in _PLAIN.items() if isinstance(value, kind)), value)


def _is_no_moment(value: object) -> bool:
    """Whether it is pandas's NaT, a datetime that is not even equal to itself."""
    return isinstance(value, datetime) and value != value  # noqa: PLR0124 - that is the question


def _kind(value: object) -> str:
    """The name of its type, as Python shows it: numpy has a bool of its own."""
    kind = type(value)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _encodable(field: str, value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidCommandError(field, _SURROGATE) from None
    return value


class _FaultError(Exception):
    """A rule that a nested value breaks. The path grows on the way up: good values pay nothing."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule
        self.path = ""

    def below(self, step: str) -> _FaultError:
        self.path = step + self.path
        return self


def _nested(field: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    try:
        return _object(value, NESTING_MAX)
    except _FaultError as fault:
        raise InvalidCommandError(field + fault.path, fault.rule) from None


def _object(value: Mapping[Any, Any], levels: int) -> dict[str, Any]:
    if levels <= 0:
        raise _FaultError(f"is nested deeper than {NESTING_MAX} levels")
    found: dict[str, Any] = {}
    for key, member in value.items():
        name = key if type(key) is str else _plain(key)
        if type(name) is not str:
            raise _FaultError(f"has a key of type {_kind(key)}; use strings")
        try:
            if not name.isascii():
                _string(name, levels)
            # Short strings first, without a call: they are most of what a web handler sends.
            if type(member) is str and len(member) < _SURELY_SHORT and member.isascii():
                found[name] = member
            else:
                found[name] = _value(member, levels)
        except _FaultError as fault:
            raise fault.below(f".{printable(name)}") from None
    return found


def _value(value: Any, levels: int) -> Any:
    convert = _CONVERSIONS.get(type(value))
    if convert is not None:
        return convert(value, levels)
    if isinstance(value, Mapping):
        return _object(value, levels - 1)
    if isinstance(value, (list, tuple)):
        return _array(value, levels - 1)
    plain = _plain(value)
    if plain is not value:
        return _CONVERSIONS[type(plain)](plain, levels)
    raise _FaultError(
        f"is a {_kind(value)}, which JSON cannot carry; use str, int, float, bool, None,"
        " dict, list, datetime, date, Decimal or UUID"
    )


def _inner_object(value: dict[Any, Any], levels: int) -> dict[str, Any]:
    return _object(value, levels - 1)


def _inner_array(value: list[Any] | tuple[Any, ...], levels: int) -> list[Any]:
    return _array(value, levels - 1)


def _array(value: list[Any] | tuple[Any, ...], levels: int) -> list[Any]:
    if levels <= 0:
        raise _FaultError(f"is nested deeper than {NESTING_MAX} levels")
    if len(value) > ARRAY_MAX_ITEMS:
        raise _FaultError(f"must have at most {ARRAY_MAX_ITEMS} items, has {len(value)}")
    found = []
    for item in value:
        try:
            found.append(_value(item, levels))
        except _FaultError as fault:
            raise fault.below(f"[{len(found)}]") from None
    return found


def _string(value: str, _levels: int) -> str:
    if len(value) >= _SURELY_SHORT or not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise _FaultError(_SURROGATE) from None
        if size > STRING_MAX_BYTES:
            raise _FaultError(f"must have at most {STRING_MAX_BYTES} bytes, has {size}")
    return value


def _integer(value: int, _levels: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise _FaultError(_NUMBER)
    return value


def _finite(value: float | Decimal, _levels: int) -> float:
    if not _is_finite(value):
        raise _FaultError(_NUMBER)
    return float(value)


def _is_finite(value: float | Decimal) -> bool:
    # A signalling NaN refuses to become the float that math.isfinite looks at.
    return not (type(value) is Decimal and value.is_snan()) and math.isfinite(value)


def _as_is(value: Any, _levels: int) -> Any:
    return value


def _iso(value: date, _levels: int) -> str:
    return value.isoformat()


def _str(value: object, _levels: int) -> str:
    return str(value)


# A datetime is a date too, so it stands before it.
_PLAIN: dict[type, Any] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    datetime: lambda value: datetime.fromisoformat(datetime.isoformat(value)),
    date: lambda value: date.fromisoformat(date.isoformat(value)),
    Decimal: Decimal,
    UUID: lambda value: UUID(int=value.int),
}
_CONVERSIONS: dict[type, Any] = {
    str: _string,
    int: _integer,
    float: _finite,
    Decimal: _finite,
    bool: _as_is,
    type(None): _as_is,
    dict: _inner_object,
    list: _inner_array,
    tuple: _inner_array,
    datetime: _iso,
    date: _iso,
    UUID: _str,
}
