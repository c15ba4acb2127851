"""Cells: what stands in a column becomes what a command's field takes.

A cell of a CSV file is text; those of NDJSON, Parquet and SQL have types of their own, which stay
as they are wherever the field takes them. Nothing is guessed: text becomes a number, a boolean or
JSON only in a field that is one, or in a column that was named as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any
from uuid import UUID

import msgspec

from klaviyo_relay.errors import InvalidCommandError

Convert = Callable[[str, Any], Any]

_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_UNIX = re.compile(r"[0-9]{1,12}(\.[0-9]+)?", re.ASCII)
_SEPARATORS = re.compile(r"[\s,;|]+")
_BOOLEANS = {
    "true": True, "t": True, "yes": True, "y": True, "1": True,
    "false": False, "f": False, "no": False, "n": False, "0": False,
}  # fmt: skip
# Seconds that many are past the year 5000, milliseconds that few before 1974.
_MILLISECONDS_FROM = 10**11


def text(_field: str, value: Any) -> Any:
    """Whole numbers and UUIDs, as databases keep identifiers, become text."""
    return str(value) if type(value) is int or isinstance(value, UUID) else value


def number(field: str, value: Any) -> Any:
    """Text such as 23.99, -5 or 1e3: a point, no spaces, no thousands' separators."""
    if type(value) is not str:
        return value
    if not _NUMBER.fullmatch(value):
        raise InvalidCommandError(field, "must be a number such as 23.99, with nothing around it")
    has_fraction = "." in value or "e" in value or "E" in value
    return float(value) if has_fraction else int(value)


def boolean(field: str, value: Any) -> Any:
    """Text such as true, yes or 1, in any case."""
    if type(value) is bool:
        return value
    found = _BOOLEANS.get(str(value).lower())
    if found is None:
        raise InvalidCommandError(field, "must be true or false, yes or no, 1 or 0")
    return found


def listed(_field: str, value: Any) -> Any:
    """Text such as `email sms` or `email,sms`: one name or several."""
    return tuple(_SEPARATORS.split(value.strip())) if type(value) is str else value


def decoded(field: str, value: Any) -> Any:
    """Text that is JSON."""
    if type(value) is not str:
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise InvalidCommandError(field, "must be JSON") from None


def moments(zone: tzinfo | None) -> Convert:
    """Reads ISO 8601 and Unix seconds; a time without a zone is one of `zone`, or refused."""

    def moment(field: str, value: Any) -> Any:
        try:
            found = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            found = _moment_of(field, value)
        if type(found) is not datetime or found.tzinfo is not None:
            return found
        if zone is None:
            raise InvalidCommandError(
                field, "has no time zone; say which one with --time-zone, such as UTC"
            )
        return found.replace(tzinfo=zone)

    return moment


def _moment_of(field: str, value: Any) -> Any:
    if type(value) is str:
        if _UNIX.fullmatch(value):
            return _from_unix(field, float(value))
        raise InvalidCommandError(
            field, "must be ISO 8601, such as 2026-01-31T12:00:00Z, or Unix seconds"
        )
    if type(value) is date:
        return datetime.combine(value, time())
    if type(value) in (int, float):
        return _from_unix(field, value)
    return value


def _from_unix(field: str, seconds: float) -> datetime:
    if seconds >= _MILLISECONDS_FROM:
        raise InvalidCommandError(field, "must be Unix seconds; these look like milliseconds")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise InvalidCommandError(field, "must be after 1990 and at most one year ahead") from None
