"""Verbs that read: the options that all of them have, and errors that speak of options.

A parameter of such a verb has the name of the reader's argument, so that what the reader says of
`list_id` can be said of `--list-id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, get_args

import click

from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay_worker.cli.get.desk import Desk, Form, Wishes
from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError

_NUMBERED = re.compile(r"\[(\d+)\]$")


def _common() -> list[click.Parameter]:
    return [
        click.Option(["--account"], default=DEFAULT_ACCOUNT, show_default=True, help="whose data"),
        click.Option(["--json"], is_flag=True, help="JSON, a document a line"),
        click.Option(["--csv"], is_flag=True, help="CSV with a header"),
        click.Option(
            ["--output"],
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="write to FILE, for your eyes only; it is FILE.part until it is whole",
        ),
        click.Option(
            ["--patience"],
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="how long a request may wait for the rate limit or an outage  [default: 60]",
        ),
    ]


def _count() -> click.Parameter:
    return click.Option(["--count"], type=click.IntRange(min=1), help="at most so many")


def _cursor() -> click.Parameter:
    return click.Option(["--cursor"], help="go on where an earlier read broke off, which said this")


class Verb(click.Command):
    """A verb that reads one thing; its callback gets a `Desk` first."""

    more: ClassVar[tuple[Callable[[], click.Parameter], ...]] = ()
    """Makers of further options."""

    def __init__(self, name: str | None, *, params: list[click.Parameter], **settings: Any) -> None:
        own = [*params, *(make() for make in self.more), *_common()]
        super().__init__(name, params=own, **settings)

    def invoke(self, ctx: click.Context) -> None:
        """Run the callback with a desk; errors name options."""
        assert self.callback is not None  # noqa: S101 - a Verb is made by decorating a function
        wishes = _wishes(ctx)
        with _in_options(ctx), Desk(wishes) as desk:
            ctx.invoke(self.callback, desk, **ctx.params)


class Listing(Verb):
    """A verb that reads many things."""

    more = (_count,)


class LongListing(Verb):
    """A verb that may read for long, and can go on where it broke off."""

    more = (_count, _cursor)


def _wishes(ctx: click.Context) -> Wishes:
    """Take the common options out of the verb's own."""
    given = ctx.params
    asked: list[Form] = [form for form in get_args(Form) if given.pop(form, False)]
    if len(asked) > 1:
        raise click.UsageError("--json | --csv: give one of them, not both", ctx)
    return Wishes(
        account=given.pop("account"),
        patience=given.pop("patience"),
        form=asked[0] if asked else "table",
        output=given.pop("output"),
        count=given.pop("count", None),
        cursor=given.pop("cursor", None),
    )


@contextmanager
def _in_options(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except InvalidArgumentError as error:
        names = " | ".join(_option(ctx, one) for one in error.argument.split(" | "))
        raise click.UsageError(f"{names}: {_translated(ctx, error.rule)}", ctx) from None
    except NotFoundError as error:
        argument, colon, said = str(error).partition(":")
        text = _option(ctx, argument) + colon + said
        raise NotFoundError(text, error.status, error.failures) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            raise click.ClickException(f"writing fails: {error.strerror}") from None
        raise click.UsageError(f"--output: {error.strerror}: {error.filename}", ctx) from None


def _option(ctx: click.Context, argument: str) -> str:
    """How the command line calls an argument of the reader's."""
    number = _NUMBERED.search(argument)
    if number is not None:
        return f"{_option(ctx, argument[: number.start()])} number {int(number[1]) + 1}"
    for one in ctx.command.params:
        if one.name == argument:
            is_option = isinstance(one, click.Option)
            return max(one.opts, key=len) if is_option else one.make_metavar(ctx).strip("[]")
    return argument


def _translated(ctx: click.Context, rule: str) -> str:
    """A rule with options in the place of arguments such as `list_id`."""
    return re.sub(r"\b([a-z]+_(?:id|name))\b=?", lambda found: _option(ctx, found[1]), rule)
