"""`klaviyo-relay get lists`, `segments`, and who is on them or gets none of their mail."""

from __future__ import annotations

from typing import Any

import click

from klaviyo_relay_worker.cli.get.columns import EXCLUSIONS, LISTS, MEMBERS, SEGMENTS
from klaviyo_relay_worker.cli.get.desk import Desk
from klaviyo_relay_worker.cli.get.verb import Listing, LongListing, Verb
from klaviyo_relay_worker.cli.get.whom import (
    Function,
    one_of,
    people_given,
    people_options,
    reason_option,
)
from klaviyo_relay_worker.klaviyo.resources import CHANNELS

_since = click.option("--since", metavar="TIME", help="only at this time or later")
_with_count = click.option(
    "--with-count", is_flag=True, help="with the number of its members; 15 a minute at most"
)
_list_name = click.option("--list-name", metavar="NAME", help="the list, if no other has its name")
_segment_name = click.option(
    "--segment-name", metavar="NAME", help="the segment, if no other has its name"
)


def _list_options(function: Function) -> Function:
    return click.option("--list-id", metavar="ID", help="the list")(_list_name(function))


def _segment_options(function: Function) -> Function:
    return click.option("--segment-id", metavar="ID", help="the segment")(_segment_name(function))


@click.command(cls=Listing)
def lists(desk: Desk) -> None:
    r"""All lists.

    \b
    Example:
      klaviyo-relay get lists
    """
    desk.show(desk.reader.lists.all(), LISTS, can_go_on=False)


@click.command("list", cls=Verb)
@click.argument("list_id", metavar="[ID]", required=False)
@_list_name
@_with_count
def one_list(desk: Desk, **given: Any) -> None:
    r"""One list.

    \b
    Examples:
      klaviyo-relay get list UY6zLP --with-count
      klaviyo-relay get list --list-name Newsletter
    """
    desk.show_one(desk.reader.lists.get(**given), LISTS)


@click.command(cls=Listing)
def segments(desk: Desk) -> None:
    r"""All segments.

    \b
    Example:
      klaviyo-relay get segments --csv
    """
    desk.show(desk.reader.segments.all(), SEGMENTS, can_go_on=False)


@click.command("segment", cls=Verb)
@click.argument("segment_id", metavar="[ID]", required=False)
@_segment_name
@_with_count
def one_segment(desk: Desk, **given: Any) -> None:
    r"""One segment.

    \b
    Example:
      klaviyo-relay get segment Q7bZpd --with-count
    """
    desk.show_one(desk.reader.segments.get(**given), SEGMENTS)


@click.command(cls=LongListing)
@_list_options
@_segment_options
@people_options
@_since
def members(
    desk: Desk,
    *,
    list_id: str | None,
    list_name: str | None,
    segment_id: str | None,
    segment_name: str | None,
    since: str | None,
    **people: Any,
) -> None:
    r"""Who is on a list or in a segment: all, or those of the named people who are.

    With --since only who joined at this time or later.

    \b
    Examples:
      klaviyo-relay get members --list-name Newsletter --output members.csv --csv
      klaviyo-relay get members --segment-id Q7bZpd --emails-from addresses.txt
    """
    of_list = {"list_id": list_id, "list_name": list_name}
    of_segment = {"segment_id": segment_id, "segment_name": segment_name}
    which = one_of({**of_list, **of_segment})
    group: Any = desk.reader.lists if which.keys() & of_list.keys() else desk.reader.segments
    named = people_given(**people)
    pages = group.members(**which, **named, since=since, count=desk.count, cursor=desk.cursor)
    desk.show(pages, MEMBERS, can_go_on=not named)


@click.command(cls=LongListing)
@_list_options
@people_options
@click.option(
    "--channel",
    type=click.Choice(CHANNELS, case_sensitive=False),
    default="email",
    show_default=True,
    help="which consent counts",
)
def subscribers(
    desk: Desk, *, list_id: str | None, list_name: str | None, channel: Any, **people: Any
) -> None:
    r"""Who is on a list and can be sent marketing there.

    \b
    Example:
      klaviyo-relay get subscribers --list-name Newsletter --json
    """
    named = people_given(**people)
    pages = desk.reader.lists.subscribers(
        list_id,
        list_name=list_name,
        channel=channel,
        count=desk.count,
        cursor=desk.cursor,
        **named,
    )
    desk.show(pages, MEMBERS, can_go_on=not named)


@click.command(cls=LongListing)
@_list_options
@reason_option
@_since
def exclusions(desk: Desk, **given: Any) -> None:
    r"""Who gets no email of a list though they may be on it, why, and since when.

    Who gets no email at all: `get suppressed`.

    \b
    Example:
      klaviyo-relay get exclusions --list-name Newsletter --reason UNSUBSCRIBE
    """
    pages = desk.reader.lists.exclusions(**given, count=desk.count, cursor=desk.cursor)
    desk.show(pages, EXCLUSIONS)
