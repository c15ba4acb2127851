"""Whom: the options that name people, and files of addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from klaviyo_relay import validation
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay_worker.errors import InvalidArgumentError
from klaviyo_relay_worker.klaviyo.resources import REASONS

if TYPE_CHECKING:
    from klaviyo_relay_worker.klaviyo import Reader

Function = TypeVar("Function", bound=Callable[..., Any])


def profile_options(function: Function) -> Function:
    """--profile and --email, which mean one profile."""
    function = click.option("--email", metavar="ADDRESS", help="of this profile")(function)
    return click.option("--profile", "profile_id", metavar="ID", help="of this profile")(function)


def reason_option(function: Function) -> Function:
    """--reason: why somebody gets no email."""
    return click.option(
        "--reason",
        type=click.Choice(REASONS, case_sensitive=False),
        metavar="REASON",
        help=f"only this one of {', '.join(REASONS)}",
    )(function)


def profile_id_of(reader: Reader, profile_id: str | None, email: str | None) -> str | None:
    """The id that one of the two options means; None where neither is given."""
    if profile_id is not None and email is not None:
        raise InvalidArgumentError("profile_id | email", "give one of them, not both")
    if email is None:
        return profile_id
    return known(reader.profiles.id_of(email=email), "--email")


def one_of(given: Mapping[str, str | None]) -> dict[str, str]:
    """The one argument that is given; exactly one must be."""
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) != 1:
        raise InvalidArgumentError(" | ".join(given), f"exactly one is needed, not {len(found)}")
    return found


def known(profile_id: str | None, option: str) -> str:
    """The id, if there is one.

    Raises:
        ClickException: there is none; exit code 1.
    """
    if profile_id is None:
        raise click.ClickException(f"{option}: Klaviyo knows no profile by this")
    return profile_id


def _addresses(
    _context: click.Context, option: click.Parameter, file: IO[str] | None
) -> list[str] | None:
    """The addresses in a file; a bad one is told by its line, not by itself: it is private."""
    if file is None:
        return None
    try:
        with file:
            found = list(_checked(file))
    except InvalidCommandError as error:
        raise click.BadParameter(str(error), param=option) from None
    if not found:
        raise click.BadParameter("there is no address in it", param=option)
    return found


def _checked(file: IO[str]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield validation.email(f"line {number}", line.strip())


def email_options(function: Function) -> Function:
    """--email, any number of times, and --emails-from."""
    function = click.option(
        "--emails-from",
        # A mark of the byte order, as spreadsheets write it, is no part of an address.
        type=click.File(encoding="utf-8-sig", errors="surrogateescape"),
        callback=_addresses,
        metavar="FILE",
        help="only who has an address in FILE (-: standard input), one a line",
    )(function)
    return click.option(
        "--email", "emails", multiple=True, metavar="ADDRESS", help="only this one; repeatable"
    )(function)


def people_options(function: Function) -> Function:
    """The options that name people among the members of a list or segment."""
    for option, name, metavar in (
        ("--push-token", "push_tokens", "TOKEN"),
        ("--phone-number", "phone_numbers", "NUMBER"),
    ):
        function = click.option(
            option, name, multiple=True, metavar=metavar, help="only this one; repeatable"
        )(function)
    return email_options(function)


def people_given(
    *, emails: Sequence[str], emails_from: list[str] | None, **others: Sequence[str]
) -> dict[str, list[str]]:
    """The reader's arguments for those who are named; empty where nobody is."""
    named = {"emails": [*emails, *(emails_from or ())], **others}
    return {name: list(values) for name, values in named.items() if values}
