"""`klaviyo-relay get profile`, `profiles` and what is about one person or all."""

from __future__ import annotations

from typing import Any

import click

from klaviyo_relay_worker.cli.get.columns import EXCLUSIONS, LISTS, PROFILES
from klaviyo_relay_worker.cli.get.desk import Desk
from klaviyo_relay_worker.cli.get.verb import Listing, LongListing, Verb
from klaviyo_relay_worker.cli.get.whom import (
    Function,
    email_options,
    known,
    one_of,
    people_given,
    profile_id_of,
    profile_options,
    reason_option,
)


def _identifiers(function: Function) -> Function:
    for option, metavar in (
        ("--external-id", "ID"),
        ("--phone-number", "NUMBER"),
        ("--email", "ADDRESS"),
    ):
        function = click.option(option, metavar=metavar, help="who has this")(function)
    return function


def _id_of(desk: Desk, given: dict[str, str]) -> str:
    [option] = given
    return known(desk.reader.profiles.id_of(**given), f"--{option.replace('_', '-')}")


@click.command(cls=Verb)
@click.argument("profile_id", metavar="[ID]", required=False)
@_identifiers
def profile(desk: Desk, profile_id: str | None, **identifiers: str | None) -> None:
    r"""One profile, with its properties and subscriptions.

    \b
    Examples:
      klaviyo-relay get profile --email ada@lovelace.dev
      klaviyo-relay get profile 01GDDKASAP8TKDDA2GRZDSVP4H --json
    """
    given = one_of({"profile_id": profile_id, **identifiers})
    identity = given.get("profile_id") or _id_of(desk, given)
    desk.show_one(desk.reader.profiles.get(identity), PROFILES)


@click.command("profile-id", cls=Verb)
@_identifiers
def profile_id(desk: Desk, **identifiers: str | None) -> None:
    r"""The id of a profile; exit code 1 if there is none.

    \b
    Example:
      klaviyo-relay get profile-id --email ada@lovelace.dev
    """
    desk.write(_id_of(desk, one_of(identifiers)))


@click.command(cls=LongListing)
@email_options
@click.option("--created-since", metavar="TIME", help="only who was created after this")
@click.option("--updated-since", metavar="TIME", help="only who was changed after this")
def profiles(
    desk: Desk, *, created_since: str | None, updated_since: str | None, **people: Any
) -> None:
    r"""Profiles: those who are named, or all.

    TIME is 2026-01-31, at midnight UTC, or 2026-01-31T12:00:00Z.

    \b
    Example:
      klaviyo-relay get profiles --updated-since 2026-01-31 --json --output changed.ndjson
    """
    named = people_given(**people)
    pages = desk.reader.profiles.all(
        created_since=created_since,
        updated_since=updated_since,
        count=desk.count,
        cursor=desk.cursor,
        **named,
    )
    desk.show(pages, PROFILES, can_go_on=not named)


@click.command(cls=LongListing)
@reason_option
@click.option("--since", metavar="TIME", help="only at this time or later")
def suppressed(desk: Desk, *, reason: Any, since: str | None) -> None:
    r"""Who gets no email at all, why, and since when.

    \b
    Example:
      klaviyo-relay get suppressed --reason HARD_BOUNCE --since 2026-01-01
    """
    pages = desk.reader.profiles.suppressed(
        reason=reason, since=since, count=desk.count, cursor=desk.cursor
    )
    desk.show(pages, EXCLUSIONS)


@click.command("lists-of", cls=Listing)
@profile_options
def lists_of(desk: Desk, *, profile_id: str | None, email: str | None) -> None:
    r"""The lists that a profile is on.

    \b
    Example:
      klaviyo-relay get lists-of --email ada@lovelace.dev
    """
    one_of({"profile_id": profile_id, "email": email})
    identity = profile_id_of(desk.reader, profile_id, email)
    desk.show_all(desk.reader.profiles.lists(str(identity)), LISTS)
