"""`klaviyo-relay dead redrive` and `discard`: counted first, then asked, then done."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from klaviyo_relay_worker.cli.letter_options import (
    Function,
    LetterBox,
    filter_of,
    open_box,
    with_filters,
)
from klaviyo_relay_worker.cli.pace import Pace, rate_of
from klaviyo_relay_worker.cli.plain_text import plain
from klaviyo_relay_worker.dead_letters import DeadLetter
from klaviyo_relay_worker.letter_filter import LetterFilter

_KINDS_SHOWN = 20
_PROGRESS_SECONDS = 1.0
Pages = Iterable[list[DeadLetter]]


class Choice(Struct, frozen=True):
    """What a person has chosen.

    Attributes:
        identities: command ids; empty: all that the filter takes.
        wanted: the filter.
        dry_run: only count.
        yes: do not ask.
        as_json: one JSON document instead of words.
    """

    identities: tuple[str, ...]
    wanted: LetterFilter
    dry_run: bool
    yes: bool
    as_json: bool


def _with_choice(function: Function) -> Function:
    for option in (
        click.argument("identities", metavar="[ID]...", nargs=-1),
        click.option("--json", "as_json", is_flag=True, help="one JSON document"),
        click.option("--yes", is_flag=True, help="do not ask"),
        click.option("--dry-run", is_flag=True, help="only count"),
        click.option("--all", "every", is_flag=True, help="every dead letter that fits"),
    ):
        function = option(function)
    return with_filters(function)


def _choice(given: dict[str, Any]) -> Choice:
    names = ("identities", "dry_run", "yes", "as_json")
    own = {name: given.pop(name) for name in names}
    every = given.pop("every")
    wanted = filter_of(given)
    if not own["identities"] and wanted.is_empty and not every:
        raise click.UsageError("give ids, or a filter, or --all")
    return Choice(wanted=wanted, **own)


@click.command("redrive")
@_with_choice
@click.option("--rate", type=rate_of, help="at most so many, such as 50/s; Ctrl-C ends it")
def dead_redrive(rate: float | None, **given: Any) -> None:
    r"""Put dead letters back into their lane, for instance after the fault at Klaviyo is mended.

    Says how many of which kind, and asks on a terminal if it is more than one. What dies again
    meanwhile is not redriven again.

    \b
    Example:
      klaviyo-relay dead redrive --code invalid --since 2h --rate 50/s
    """
    box, choice = open_box(), _choice(given)
    pages = _counted(box, choice, "redriven")
    if pages is None:
        return
    move = _Move("redriven", Pace(rate), box.letters.redrive, tells_progress=rate is not None)
    move.run(pages, as_json=choice.as_json)


@click.command("discard")
@_with_choice
def dead_discard(**given: Any) -> None:
    r"""Delete dead letters for good; they count as discarded.

    Says how many of which kind, and asks if it is more than one; without a terminal, more than
    one needs --yes.

    \b
    Example:
      klaviyo-relay dead discard --until 2026-07-01 --dry-run
    """
    box, choice = open_box(), _choice(given)
    pages = _counted(box, choice, "discarded", needs_answer=True)
    if pages is not None:
        _Move("discarded", Pace(None), box.letters.discard).run(pages, as_json=choice.as_json)


def _counted(
    box: LetterBox, choice: Choice, done: str, *, needs_answer: bool = False
) -> Pages | None:
    """The letters that were counted and agreed to; None after a dry run.

    Raises:
        click.ClickException: there are none.
        click.Abort: the person has said no, or there is nobody to ask.
    """
    # What dies from now on was not counted. Else a redriven letter that dies again would go round.
    now = box.now()
    until = now if choice.wanted.until is None else min(now, choice.wanted.until)
    wanted = replace(choice.wanted, until=until)

    def pages() -> Pages:
        if choice.identities:
            return box.pages_of(choice.identities, wanted)
        return box.pages(wanted)

    census = Census(pages())
    if not census.count:
        raise click.ClickException("no dead letter fits")
    if choice.dry_run:
        _say_census(census, done, as_json=choice.as_json)
        return None
    if not choice.yes and census.count > 1 and (needs_answer or sys.stdin.isatty()):
        click.echo("\n".join(census.lines()), err=True)
        click.confirm(f"{census.count:,} will be {done}. Go on?", abort=True, err=True)
    return pages()


class Census:
    """How many letters of which kind there are."""

    def __init__(self, pages: Pages) -> None:
        self.kinds: Counter[tuple[str, str, str]] = Counter()
        self.unsendable = 0
        for page in pages:
            self.kinds.update((one.lane, one.verb, one.failure.code) for one in page)
            self.unsendable += sum(one.sendable is None for one in page)

    @property
    def count(self) -> int:
        """All of them."""
        return self.kinds.total()

    def lines(self) -> Iterator[str]:
        """For people, the most frequent first."""
        for (lane, verb, code), count in self.kinds.most_common(_KINDS_SHOWN):
            yield f"{count:>11,}  {lane:20} {plain(verb):18} {plain(code)}"
        if len(self.kinds) > _KINDS_SHOWN:
            yield f"{'':>11}  and {len(self.kinds) - _KINDS_SHOWN:,} other kinds"

    def document(self) -> dict[str, Any]:
        """For programs."""
        kinds = [
            {"lane": lane, "verb": verb, "code": code, "count": count}
            for (lane, verb, code), count in self.kinds.most_common()
        ]
        return {"count": self.count, "unsendable": self.unsendable, "kinds": kinds}


def _say_census(census: Census, done: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(census.document()))
        return
    for line in census.lines():
        click.echo(line)
    click.echo(f"{census.count:,} would be {done}")


class _Move:
    """Does it, part by part, and says how far it has come.

    Args:
        done: redriven or discarded.
        pace: how fast.
        move: of some letters; returns how many went.
        tells_progress: whether a person waits long enough to wonder.
    """

    def __init__(
        self,
        done: str,
        pace: Pace,
        move: Callable[[Sequence[DeadLetter]], int],
        *,
        tells_progress: bool = False,
    ) -> None:
        self._done, self._pace, self._move = done, pace, move
        self._tells_progress = tells_progress
        self._told_at = time.monotonic()
        self.moved = self.seen = 0

    def run(self, pages: Pages, *, as_json: bool) -> None:
        """Move all; Ctrl-C leaves the rest where it is."""
        try:
            for page in pages:
                for part in self._pace.parts(page):
                    self._move_part(part)
        except KeyboardInterrupt:
            click.echo("interrupted; the rest are dead letters still", err=True)
            self._say(as_json=as_json)
            raise SystemExit(1) from None
        self._say(as_json=as_json)
        raise SystemExit(0 if self.moved else 1)

    def _move_part(self, part: Sequence[DeadLetter]) -> None:
        self.moved += self._move(part)
        self.seen += len(part)
        if self._tells_progress and time.monotonic() - self._told_at >= _PROGRESS_SECONDS:
            self._told_at = time.monotonic()
            click.echo(f"{self.moved:,} {self._done} so far", err=True)

    def _say(self, *, as_json: bool) -> None:
        left = self.seen - self.moved
        if as_json:
            click.echo(json.dumps({self._done: self.moved, "left": left}))
            return
        click.echo(f"{self.moved:,} {self._done}")
        if left:
            click.echo(f"{left:,} stayed: they cannot be sent as they are, or are gone", err=True)
