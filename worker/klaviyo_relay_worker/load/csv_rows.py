"""Rows of a CSV file: a header, and then cells that are text."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Iterator
from typing import Any

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.rows import Broken, Bytes, Row

_BOM = codecs.BOM_UTF8
_OTHER_DELIMITERS = {";": "';'", "\t": "tab", "|": "'|'"}


class CsvRows:
    """Reads CSV; see `Reader`.

    A row may have line breaks between quotation marks. The offset is right after each row, since
    the csv module takes no line before it needs it.
    """

    is_text = True

    def __init__(self, data: Bytes, *, delimiter: str = ",", encoding: str = "utf-8") -> None:
        """Read the header.

        Raises:
            UsageFaultsError: there is none, or not one that names each column once.
        """
        self._bytes = data
        self._delimiter = delimiter
        self._encoding = encoding
        self._row, self._first_line = 0, 0
        self._cells = self._reader()
        self.columns: tuple[str, ...] = self._header()

    def _reader(self) -> Any:
        # Strict: a quotation mark that is never closed is a fault, not the rest of the file.
        return csv.reader(self._texts(), delimiter=self._delimiter, strict=True)

    def _texts(self) -> Iterator[str]:
        encoding = self._encoding
        for line in self._bytes.lines():
            # What is not of the encoding is carried on and refused in the cell where it stands.
            yield line.decode(encoding, "surrogateescape")

    def _header(self) -> tuple[str, ...]:
        try:
            found: list[str] = next(self._cells, [])
        except csv.Error as error:
            raise UsageFaultsError([f"the header is no CSV: {error}"]) from None
        if found:
            found[0] = found[0].removeprefix(_BOM.decode()).strip('"')
        faults = [*_faults_of(found, self._delimiter)]
        if faults:
            raise UsageFaultsError(faults)
        return tuple(found)

    @property
    def position(self) -> Position:
        """The place behind the last chunk."""
        return Position(self._bytes.offset, self._row, self._line)

    @property
    def _line(self) -> int:
        return self._first_line + int(self._cells.line_num)

    @property
    def share(self) -> float | None:
        """How much has been read, from 0 to 1."""
        return self._bytes.share

    def seek(self, position: Position) -> None:
        """Go on behind a row."""
        self._bytes.seek(position.offset)
        self._row, self._first_line = position.row, position.line
        self._cells = self._reader()

    def read(self, most: int) -> list[Row]:
        """The next rows; lines with nothing in them are none."""
        rows: list[Row] = []
        first, cells = self._first_line + 1, self._cells
        while len(rows) < most:
            line = first + cells.line_num
            try:
                found = next(cells)
            except StopIteration:
                break
            except csv.Error as error:
                rows.append((line, Broken("csv", _said(str(error)))))
                continue
            if found:
                rows.append((line, found))
        self._row += len(rows)
        return rows

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()


def _faults_of(header: list[str], delimiter: str) -> Iterator[str]:
    if not header:
        yield "there is no header: the first line of CSV must name the columns"
    yield from _faults_of_names(header)
    # What could not be decoded, as "surrogateescape" carries it on.
    if any("\udc80" <= letter <= "\udcff" for letter in "".join(header)):
        yield "the header is not UTF-8: say what it is with --encoding, such as cp1252"
    if len(header) == 1:
        yield from _faults_of_delimiter(header[0], delimiter)


def _faults_of_names(header: list[str]) -> Iterator[str]:
    for name, many in Counter(header).items():
        if many > 1:
            yield f"the header names the column {name!r} {many} times"
    if "" in header:
        yield f"the header has no name for column {header.index('') + 1}"


def _faults_of_delimiter(only: str, delimiter: str) -> Iterator[str]:
    for other, said in _OTHER_DELIMITERS.items():
        if other in only and other != delimiter:
            yield f"the header has one column only; perhaps you need --delimiter {said}"


def _said(error: str) -> str:
    if "field limit" in error or "unexpected end" in error:
        return "a quotation mark is not closed, or a cell is larger than 131,072 characters"
    return error
