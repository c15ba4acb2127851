"""`klaviyo-relay dead`: the dead letters."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from itertools import chain
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from klaviyo_relay_worker.cli.dead_export import dead_export
from klaviyo_relay_worker.cli.dead_moves import dead_discard, dead_redrive
from klaviyo_relay_worker.cli.letter_options import filter_of, open_box, with_filters
from klaviyo_relay_worker.cli.letter_summary import line, summary
from klaviyo_relay_worker.cli.plain_text import plain, plain_json
from klaviyo_relay_worker.dead_letters import DeadLetter

LISTED = 100
Pages = Iterable[list[DeadLetter]]


@click.group()
def dead() -> None:
    r"""Commands that Klaviyo refused for good: look at them, send them again, or let them go.

    Exit codes: 0 done; 1 failed, or nothing found; 2 wrong usage.

    \b
    Example:
      klaviyo-relay dead list --since 2h
    """


for command in (dead_redrive, dead_discard, dead_export):
    dead.add_command(command)


@dead.command("list")
@with_filters
@click.option(
    "--count", type=click.IntRange(min=1), default=LISTED, show_default=True, help="at most so many"
)
@click.option("--all", "every", is_flag=True, help="all of them, in no order")
@click.option("--json", "as_json", is_flag=True, help="one JSON document a line")
def dead_list(count: int, every: bool, as_json: bool, **filters: Any) -> None:  # noqa: FBT001 - click passes flags by name
    r"""Dead letters and why they died, oldest first. Payloads are private: see `dead show ID`.

    \b
    Example:
      klaviyo-relay dead list --lane events --code invalid --since 2h
    """
    pages = open_box().pages(filter_of(filters))
    if every:
        found = sum(_say(page, as_json=as_json) for page in pages)
    else:
        oldest, found = _oldest(pages, count)
        _say(oldest, as_json=as_json)
    if not found:
        raise click.ClickException("no dead letter fits")
    if not every and found > count:
        click.echo(f"{found - count:,} more; see --count and --all", err=True)


def _say(letters: list[DeadLetter], *, as_json: bool) -> int:
    for one in letters:
        click.echo(json.dumps(summary(one)) if as_json else line(one))
    return len(letters)


def _oldest(pages: Pages, most: int) -> tuple[list[DeadLetter], int]:
    """The oldest letters, without their payloads, and how many there were in all."""
    oldest: list[DeadLetter] = []
    count = 0
    for page in pages:
        count += len(page)
        bare = (replace(one, envelope=None, message=None) for one in page)
        oldest = heapq.nsmallest(most, chain(oldest, bare), key=lambda one: (one.dead_at, one.id))
    return oldest, count


@dead.command("show")
@click.argument("identity", metavar="ID")
def dead_show(identity: str) -> None:
    r"""One dead letter with its payload, as JSON; private.

    \b
    Example:
      klaviyo-relay dead show 019a9c1e-7a52-7c3f-9d0e-5b1f0a6c2d34
    """
    box = open_box()
    found = box.letters.find(box.lanes, identity)
    if found is None:
        raise click.ClickException(f"{plain(identity)} is not a dead letter")
    click.echo(plain_json(msgspec.json.format(msgspec.json.encode(found), indent=2)))
