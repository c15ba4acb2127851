"""Formats: pages of items as text, for eyes, for spreadsheets, for programs.

A format knows no more than the page at hand, so that a read of any length takes no memory.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from klaviyo_relay_worker.cli.cells import fitted, text_of, width_of
from klaviyo_relay_worker.cli.get.columns import Columns
from klaviyo_relay_worker.cli.plain_text import plain

_GAP = "  "
# Narrower than this no column is made, to fit the terminal: the line is cut then.
_NARROWEST = 8


class Format(Protocol):
    """How items are shown."""

    def page(self, items: Sequence[Any]) -> str:
        """The text for the next items, with its line feeds."""

    def end(self) -> str:
        """What is owed when no more will come."""


class Table:
    """Aligned columns under a header; their widths are those of the first page.

    Args:
        columns: which.
        width: of the terminal, which no line exceeds; None where it is none: nothing is cut then.
    """

    def __init__(self, columns: Columns, width: int | None) -> None:
        self._columns = columns
        self._width = width
        self._widths: list[int] = []

    def page(self, items: Sequence[Any]) -> str:
        """A line an item."""
        rows = [[self._cell(column.read(item)) for column in self._columns] for item in items]
        return self._lines(rows) if rows else ""

    def end(self) -> str:
        """The header, if there was no row: nothing at all would look like a failure."""
        return "" if self._widths else self._lines([])

    def _lines(self, rows: list[list[str]]) -> str:
        if not self._widths:
            rows = [[column.name.upper() for column in self._columns], *rows]
            self._widths = self._measured(rows)
        return "".join(self._line(row) + "\n" for row in rows)

    def _cell(self, value: object) -> str:
        return plain(text_of(value, is_for_eyes=self._width is not None))

    def _measured(self, rows: list[list[str]]) -> list[int]:
        widths = [max(map(width_of, cells)) for cells in zip(*rows, strict=True)]
        excess = 0 if self._width is None else _total(widths) - self._width
        elastic = [at for at, column in enumerate(self._columns) if not column.is_whole]
        while excess > 0 and elastic:
            widest = max(elastic, key=widths.__getitem__)
            if widths[widest] <= _NARROWEST:
                break
            widths[widest] -= 1
            excess -= 1
        return widths

    def _line(self, row: list[str]) -> str:
        pairs = zip(row, self._widths, strict=True)
        if self._width is None:
            return _GAP.join(
                cell + " " * (width - width_of(cell)) for cell, width in pairs
            ).rstrip()
        line = _GAP.join(fitted(cell, width) for cell, width in pairs)
        return fitted(line, self._width).rstrip()


def _total(widths: list[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


class Details:
    """A line a member, of one item; what is empty is left out."""

    def __init__(self, columns: Columns, *, is_for_eyes: bool) -> None:
        self._columns = columns
        self._is_for_eyes = is_for_eyes

    def page(self, items: Sequence[Any]) -> str:
        """All members of each item."""
        return "".join(map(self._item, items))

    def _item(self, item: object) -> str:
        cells = [
            (name, plain(text_of(value, is_for_eyes=self._is_for_eyes)))
            for name, read in self._columns
            if (value := read(item)) not in (None, {}, "")
        ]
        width = max(len(name) for name, _cell in cells)
        return "".join(f"{name:{width}}{_GAP}{cell}\n" for name, cell in cells)


class Ndjson:
    """A JSON document a line, with all that Klaviyo sent."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def page(self, items: Sequence[Any]) -> str:
        """A line an item."""
        return "".join(plain(self._encoder.encode(item).decode()) + "\n" for item in items)

    def end(self) -> str:
        """Nothing."""
        return ""


class Csv:
    """RFC 4180 with a header, but for lines that end in a line feed alone.

    Args:
        columns: which.
        has_header: not where lines are added to a file that has one.
        is_for_eyes: as on a terminal, where no cell may have control characters.
    """

    def __init__(self, columns: Columns, *, has_header: bool, is_for_eyes: bool) -> None:
        self._columns = columns
        self._owes_header = has_header
        self._clean = plain if is_for_eyes else str

    def page(self, items: Sequence[Any]) -> str:
        """A record an item; the header before the first page, even if that is empty."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if self._owes_header:
            writer.writerow(column.name for column in self._columns)
            self._owes_header = False
        for item in items:
            writer.writerow(self._clean(text_of(column.read(item))) for column in self._columns)
        return buffer.getvalue()

    def end(self) -> str:
        """Nothing: the header came with the first page."""
        return ""
