"""The retired API's arguments of reads, in today's terms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from klaviyo_relay_worker.errors import InvalidArgumentError
from klaviyo_relay_worker.klaviyo.aggregates import Measurement

Since = float | str | None
"""Unix seconds, also as text, or `next` of the answer before."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECONDS = re.compile(r"\d{1,11}(\.\d+)?")
_NEXT = re.compile(r"(?:(\d{1,11})-)?([^-].*)")
_MEASUREMENTS: dict[str, Measurement] = {
    "count": "count",
    "unique": "unique",
    "value": "sum_value",
    "sum": "sum_value",
}
_VALUE = "$value"
_A_MONTH = timedelta(days=30)


class Start(NamedTuple):
    """Where a timeline begins.

    Attributes:
        seconds: Unix seconds; None for the newest event, or with "asc" the oldest one.
        cursor: to go on where an answer ended.
    """

    seconds: int | None
    cursor: str | None

    def span(self, sort: str) -> tuple[datetime | None, datetime | None]:
        """From when, and until before when: downwards until then, upwards since then."""
        if self.seconds is None:
            return None, None
        if sort == "asc":
            return _of_seconds("since", self.seconds), None
        return None, _of_seconds("since", self.seconds + 1)

    def following(self, cursor: str | None) -> str | None:
        """What the answer has as `next`: a page goes on under the same limit."""
        if cursor is None or self.seconds is None:
            return cursor
        return f"{self.seconds}-{cursor}"


def start_of(since: Since) -> Start:
    """What `since` means.

    Raises:
        InvalidArgumentError: a uuid, or nothing that it could be.
    """
    text = "" if since is None else str(since)
    if since is None:
        return Start(None, None)
    if _SECONDS.fullmatch(text):
        return Start(int(float(text)), None)
    following = _NEXT.fullmatch(text)
    if _UUID.fullmatch(text) or following is None or not isinstance(since, str):
        rule = "must be Unix seconds, or next of the answer before; Klaviyo takes no uuid any more"
        raise InvalidArgumentError("since", rule)
    seconds, cursor = following.groups()
    return Start(None if seconds is None else int(seconds), cursor)


def day_of(argument: str, value: Any) -> Any:
    """A limit of an export: Unix seconds, also as text, or what the reader takes."""
    if type(value) in (int, float) or (isinstance(value, str) and _SECONDS.fullmatch(value)):
        return _of_seconds(argument, float(value))
    return value


def days_of(start: Any, end: Any) -> tuple[Any, Any]:
    """Both limits of an export; the default is the last thirty days."""
    if (start is None) != (end is None):
        raise InvalidArgumentError("start_date | end_date", "give both or none")
    if start is None:
        now = datetime.now(UTC)
        return now - _A_MONTH, now
    return day_of("start_date", start), day_of("end_date", end)


def measurement_of(given: str | Iterable[str] | None) -> Measurement:
    """count, unique or sum_value; `["sum", property]`, also as JSON, for the value alone."""
    found = _from_json("measurement", given)
    name, *of = [found] if isinstance(found, str) else list(found or ("count",))
    if of and of != [_VALUE]:
        rule = "Klaviyo sums up the events' $value alone; read the events for other properties"
        raise InvalidArgumentError("measurement", rule)
    if name not in _MEASUREMENTS:
        raise InvalidArgumentError("measurement", f"must be one of {', '.join(_MEASUREMENTS)}")
    return _MEASUREMENTS[name]


def condition_of(where: Any) -> dict[str, str]:
    """`[[dimension, "=", value]]`, also as JSON, as the reader takes it."""
    found = _from_json("where", where) or []
    try:
        return {name: value for name, sign, value in found if _is_equality(sign)}
    except (TypeError, ValueError):
        raise InvalidArgumentError("where", 'must be [["dimension", "=", "value"]]') from None


def _is_equality(sign: object) -> bool:
    if sign != "=":
        raise ValueError(sign)
    return True


def _from_json(argument: str, given: Any) -> Any:
    """A list, which the old API took as JSON."""
    if not isinstance(given, str) or not given.startswith("["):
        return given
    try:
        return msgspec.json.decode(given)
    except msgspec.DecodeError:
        raise InvalidArgumentError(argument, "is no JSON") from None


def _of_seconds(argument: str, seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidArgumentError(argument, "must be Unix seconds") from None
