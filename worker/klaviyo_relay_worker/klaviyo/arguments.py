"""Arguments of reads, checked before Klaviyo is asked: names, ids, times, and people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from klaviyo_relay import validation
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay_worker.errors import InvalidArgumentError

Moment = datetime | str
"""A time: a datetime with a zone, or ISO 8601 text; a bare date begins at midnight UTC."""
People = list[tuple[str, list[str]]]
"""Field to filter by -> the values that it may have."""

_BARE_DATE = len("2026-01-31")


def moment(argument: str, value: Moment) -> datetime:
    """A time with a zone."""
    given: object = value
    if isinstance(value, str):
        try:
            given = datetime.fromisoformat(value)
        except ValueError:
            given = None
        if isinstance(given, datetime) and len(value) == _BARE_DATE:
            given = given.replace(tzinfo=UTC)
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise InvalidArgumentError(
            argument,
            "must be a time with a zone: a datetime, 2026-01-31T12:00:00Z, or 2026-01-31 alone;"
            " turn Unix seconds into datetime.fromtimestamp(seconds, timezone.utc)",
        )
    return given


def text(argument: str, value: object) -> str:
    """Any text that is not empty."""
    with _as_argument():
        return validation.text(argument, value)


def account(argument: str, value: object) -> str:
    """The name of an account."""
    with _as_argument():
        return validation.account(argument, value)


def seconds(argument: str, value: object) -> float:
    """How long to wait."""
    with _as_argument():
        return validation.seconds(argument, value)


def path_part(argument: str, value: object) -> str:
    """An id, encoded for a path."""
    return quote(text(argument, value), safe="")


def listed(argument: str, value: object) -> str:
    """The id of a list or segment."""
    try:
        return validation.list_id(argument, value)
    except InvalidCommandError:
        rule = "must be six letters and digits, as in its URL at Klaviyo"
        raise InvalidArgumentError(argument, rule) from None


def number(argument: str, value: int | None) -> int | None:
    """A count, if there is one."""
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidArgumentError(
            argument, "must be a whole number from 1 on; leave it out for all"
        )
    return value


def among(argument: str, value: object, known: Sequence[str]) -> None:
    """Refuse a word that is none of those: an answer to it would be empty, and no error."""
    if value not in known:
        raise InvalidArgumentError(argument, f"must be one of {', '.join(known)}")


def several(argument: str, values: object) -> None:
    """Refuse what is not several: a text is one, though it has letters."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidArgumentError(argument, "must be a list, even of one")


def chosen(given: Mapping[str, Any]) -> tuple[str, Any]:
    """The one argument that is given; exactly one must be."""
    found = [(name, value) for name, value in given.items() if value is not None]
    if len(found) != 1:
        text_ = f"exactly one is needed, not {len(found)}"
        raise InvalidArgumentError(" | ".join(given), text_)
    return found[0]


def people(
    *,
    emails: Iterable[str] | None = None,
    phone_numbers: Iterable[str] | None = None,
    external_ids: Iterable[str] | None = None,
    push_tokens: Iterable[str] | None = None,
) -> People:
    """Whom to look for; an empty list is refused, since all would be found by it.

    Any number may be given: a request takes a hundred, so they are spread over several.
    """
    named = {
        "emails": ("email", emails, validation.email),
        "phone_numbers": ("phone_number", phone_numbers, validation.phone_number),
        "external_ids": ("external_id", external_ids, validation.text),
        "push_tokens": ("push_token", push_tokens, validation.text),
    }
    return [
        (field, _values(argument, values, check))
        for argument, (field, values, check) in named.items()
        if values is not None
    ]


def _values(argument: str, values: Iterable[str], check: Callable[[str, object], str]) -> list[str]:
    several(argument, values)
    with _as_argument():
        found = [check(f"{argument}[{at}]", value) for at, value in enumerate(values)]
    if not found:
        raise InvalidArgumentError(argument, "is empty; leave it out to read all")
    return list(dict.fromkeys(found))


@contextmanager
def _as_argument() -> Iterator[None]:
    """What the rules of commands refuse is an argument here."""
    try:
        yield
    except InvalidCommandError as error:
        raise InvalidArgumentError(error.field, error.rule) from None
