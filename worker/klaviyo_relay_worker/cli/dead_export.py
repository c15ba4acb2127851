"""`klaviyo-relay dead export`: dead letters into a file."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click
import msgspec

from klaviyo_relay_worker.cli.letter_options import filter_of, open_box, with_filters
from klaviyo_relay_worker.cli.letter_summary import COLUMNS, summary
from klaviyo_relay_worker.cli.plain_text import plain, plain_json
from klaviyo_relay_worker.dead_letters import DeadLetter

_OWNER_ONLY = 0o600
# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@")


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@with_filters
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv"]),
    default="ndjson",
    show_default=True,
    help="csv: without payloads",
)
def dead_export(file: str, form: str, **filters: Any) -> None:
    r"""Write dead letters with their payloads to FILE, one JSON document a line; - is stdout.

    The file is new and its owner's alone (0600): payloads are private. A letter that comes or goes
    meanwhile may be missing, or, seldom, be there twice; its id tells.

    \b
    Example:
      klaviyo-relay dead export refused.ndjson --account default --since 1d
    """
    pages = open_box().pages(filter_of(filters))
    with _opened(file) as output:
        letters = (one for page in pages for one in page)
        count = _WRITERS[form](output, letters)
        if not count:
            raise click.ClickException("no dead letter fits")
    click.echo(f"{count:,} exported", err=True)


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    """The output; a file that was not written to its end does not stay."""
    if file == "-":
        yield sys.stdout
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except OSError as error:
        raise click.ClickException(f"{plain(file)}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as output:
            yield output
    except BaseException:
        os.unlink(file)  # noqa: PTH108 - as it was opened
        raise


def _write_ndjson(output: TextIO, letters: Iterator[DeadLetter]) -> int:
    count = 0
    for count, one in enumerate(letters, 1):  # noqa: B007 - the last one is the result
        output.write(plain_json(msgspec.json.encode(one)) + "\n")
    return count


def _write_csv(output: TextIO, letters: Iterator[DeadLetter]) -> int:
    table = csv.writer(output)
    table.writerow(COLUMNS)
    count = 0
    for count, one in enumerate(letters, 1):  # noqa: B007 - the last one is the result
        row = summary(one)
        table.writerow([_cell(row.get(name, "")) for name in COLUMNS])
    return count


def _cell(value: Any) -> str:
    text = plain(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


_WRITERS: dict[str, Callable[[TextIO, Iterator[DeadLetter]], int]] = {
    "ndjson": _write_ndjson,
    "csv": _write_csv,
}
