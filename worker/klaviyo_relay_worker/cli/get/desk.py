"""The desk: where a verb reads from, and where what it reads is laid out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import click
from msgspec import Struct

from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay_worker.cli.get.columns import Columns, Kind
from klaviyo_relay_worker.cli.get.formats import Csv, Details, Format, Ndjson, Table
from klaviyo_relay_worker.cli.get.outlet import Outlet, PartFile, StandardOutput
from klaviyo_relay_worker.cli.get.progress import Progress, is_terminal, is_watched
from klaviyo_relay_worker.errors import KlaviyoError, RefusedError

if TYPE_CHECKING:
    from klaviyo_relay_worker.klaviyo import Aggregate, Pages, Reader

Form = Literal["table", "json", "csv"]


class Wishes(Struct, frozen=True, kw_only=True):
    """What all verbs let a person choose.

    Attributes:
        account: whose data.
        patience: seconds that one request may wait; None for what suits the verb.
        form: how items are shown.
        output: the file they go to; None for standard output.
        count: at most so many items.
        cursor: where an earlier read stopped.
    """

    account: str
    patience: float | None
    form: Form
    output: Path | None
    count: int | None = None
    cursor: str | None = None


class Desk:
    """One run of a verb; a context that closes what was opened.

    Args:
        wishes: the options that all verbs have.
    """

    def __init__(self, wishes: Wishes) -> None:
        self.count, self.cursor = wishes.count, wishes.cursor
        self.patience = wishes.patience
        self._wishes = wishes
        self._outlet: Outlet
        self._owes_header = True
        if wishes.output is None:
            self._outlet = StandardOutput()
        else:
            part = PartFile(wishes.output, goes_on=wishes.cursor is not None)
            self._outlet, self._owes_header = part, not part.has_begun
        self._is_for_eyes = wishes.output is None and is_terminal(sys.stdout)

    @cached_property
    def reader(self) -> Reader:
        """Klaviyo; imported here, since other verbs need none of it."""
        from klaviyo_relay_worker.klaviyo.reader import PATIENCE_SECONDS, Reader

        patience = PATIENCE_SECONDS if self.patience is None else self.patience
        return Reader.from_env(self._wishes.account, patience=patience)

    def __enter__(self) -> Self:
        """Itself."""
        self._outlet.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Close the reader; keep or rename the file."""
        if "reader" in vars(self):
            self.reader.close()
        self._outlet.__exit__(kind, *error)

    def show(self, pages: Pages[Any], kind: Kind, *, can_go_on: bool = True) -> None:
        """Show a read of many, page by page; one that breaks off says how to go on.

        Args:
            pages: the items.
            kind: of them.
            can_go_on: whether the verb takes the read's cursor.
        """
        progress = Progress(is_shown=is_watched(writes_file=self._wishes.output is not None))
        try:
            with progress:
                self._lay_out(pages, self._format(kind), progress)
        except (KlaviyoError, RedisUnavailableError, KeyboardInterrupt, OSError) as error:
            if can_go_on and not self._is_over(error):
                self._say_how_to_go_on(progress.rows)
            raise

    def show_all(self, items: Sequence[object], kind: Kind) -> None:
        """Show a few items that are read already."""
        self._write_all(items[: self.count], kind)

    def stream(self, batches: Iterable[Sequence[Any]], kind: Kind) -> None:
        """Show batches as they come."""
        format_ = self._format(kind)
        for batch in batches:
            self._outlet.write(format_.page(batch))

    def show_one(self, item: object, kind: Kind) -> None:
        """Show one item with all that is known of it."""
        if self._wishes.form == "table":
            details = Details(kind.csv, is_for_eyes=self._is_for_eyes)
            self._outlet.write(details.page([item]))
        else:
            self._outlet.write(self._format(kind).page([item]))

    def show_numbers(self, found: Aggregate, rows: Iterator[object], columns: Columns) -> None:
        """Show an aggregate: one JSON document, or a row for each group and date."""
        is_json = self._wishes.form == "json"
        items = [found] if is_json else list(rows)
        self._write_all(items, Kind(columns, columns))

    def write(self, line: str) -> None:
        """Write a line as it is."""
        self._outlet.write(f"{line}\n")

    def _write_all(self, items: Sequence[object], kind: Kind) -> None:
        format_ = self._format(kind)
        self._outlet.write(format_.page(items))
        self._outlet.write(format_.end())

    def _lay_out(self, pages: Pages[Any], format_: Format, progress: Progress) -> None:
        for page in pages.pages():
            items = page[: self._left(progress.rows)]
            self._outlet.write(format_.page(items))
            # Only now: an earlier cursor would repeat this page, a later one leave it out.
            self.cursor = pages.cursor
            progress.add(len(items))
            if self._left(progress.rows) == 0:
                break
        if self._owes_header:  # not in a file that an earlier run began
            self._outlet.write(format_.end())

    def _left(self, shown: int) -> int | None:
        return None if self.count is None else self.count - shown

    def _format(self, kind: Kind) -> Format:
        if self._wishes.form == "json":
            return Ndjson()
        if self._wishes.form == "csv":
            return Csv(kind.csv, has_header=self._owes_header, is_for_eyes=self._is_for_eyes)
        return Table(kind.table, shutil.get_terminal_size().columns if self._is_for_eyes else None)

    def _is_over(self, error: BaseException) -> bool:
        """Whether there is nothing to go on with: no reader, no cursor, or a refused one."""
        is_as_given = self.cursor == self._wishes.cursor
        return (
            isinstance(error, BrokenPipeError)
            or self.cursor is None
            or (is_as_given and isinstance(error, RefusedError))
        )

    def _say_how_to_go_on(self, shown: int) -> None:
        rest = "" if self.count is None else f" --count {self.count - shown}"
        kept = ""
        if isinstance(self._outlet, PartFile):
            kept = f"; {shown:,} rows are in {self._outlet.part}, and more will be added to it"
        click.echo(f"go on with --cursor '{self.cursor}'{rest}{kept}", err=True)
