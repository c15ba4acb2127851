"""Rows of a CSV file: a header, and then cells that are text."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from typing import Any

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.kept_lines import KeptLines
from klaviyo_relay_worker.load.rows import LINE_MOST, Broken, Bytes, Row

# A cell's bytes, with its quotation marks and what is between it and the next one.
_CELL_MOST = 4 * (csv.field_size_limit() + 1) + 4
_OTHER_DELIMITERS = {";": "';'", "\t": "tab", "|": "'|'"}


class CsvRows:
    """Reads CSV; see `Reader`.

    A row may have line breaks between quotation marks. If such lines turn out to be no row, the
    first of them is refused, and the next row is looked for from the second on.
    """

    is_text = True

    def __init__(self, data: Bytes, *, delimiter: str = ",", encoding: str = "utf-8") -> None:
        """Read the header.

        Raises:
            UsageFaultsError: there is none, or not one that names each column once.
            LoadError: the data are damaged.
        """
        self._bytes = data
        self._delimiter = delimiter
        self._encoding = encoding
        self._row, self._row_most = 0, LINE_MOST
        self._begin(0)
        self.columns: tuple[str, ...] = self._header()
        self._row_most = self._lines.row_most = (len(self.columns) + 1) * _CELL_MOST

    def _begin(self, line: int) -> None:
        self._lines = KeptLines(self._bytes, self._encoding, line, self._row_most)
        self._cells = self._reader_from(line)

    def _reader_from(self, line: int) -> Any:
        self._first_line = line
        # Strict: a quotation mark that is never closed is a fault, not the rest of the file.
        texts = self._lines.read_from(line)
        return csv.reader(texts, delimiter=self._delimiter, strict=True)

    def _header(self) -> tuple[str, ...]:
        try:
            found: list[str] = next(self._cells, [])
        except csv.Error as error:
            raise UsageFaultsError([f"the header is no CSV: {_said(str(error))}"]) from None
        if not found:
            self._bytes.check_whole()
        faults = [*_faults_of(found, self._delimiter)]
        if faults:
            raise UsageFaultsError(faults)
        return tuple(found)

    @property
    def position(self) -> Position:
        """The place behind the last chunk."""
        return Position(self._lines.offset(self._line), self._row, self._line)

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
        self._row = position.row
        self._begin(position.line)

    def read(self, most: int) -> list[Row]:
        """The next rows; lines with nothing in them are none."""
        self._lines.forget(self._line)
        rows: list[Row] = []
        while self._read_into(rows, most):
            pass
        self._row += len(rows)
        if not rows:
            self._bytes.check_whole()
        return rows

    def _read_into(self, rows: list[Row], most: int) -> bool:
        """Rows up to one after which to begin anew; False at the end or when there are enough."""
        lines, first, cells, width = self._lines, self._first_line, self._cells, len(self.columns)
        while len(rows) < most:
            line = lines.began = first + cells.line_num
            try:
                found = next(cells)
            except StopIteration:
                return False
            except csv.Error as error:
                return self._refuse(rows, line, str(error))
            if len(found) == width:
                rows.append((line + 1, found))
            elif self._line > line + 1:
                said = f"has {len(found)} cells, and the header names {width} columns"
                return self._refuse(rows, line, said)
            elif found:
                rows.append((line + 1, found))
        return False

    def _refuse(self, rows: list[Row], line: int, error: str) -> bool:
        """Refuse a line, and begin anew behind it; False where it is only cut off."""
        if self._bytes.is_damaged and "unexpected end" in error:
            self._cells = self._reader_from(line)
            return False
        said = _said(error)
        if self._line > line + 1:
            said += f"; what it would take in up to line {self._line:,} is read as rows of its own"
        rows.append((line + 1, Broken("csv", said, self._lines.text(line))))
        self._cells = self._reader_from(line + 1)
        return True

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
    if "new-line character" in error:
        return "a line ends as on old Macs: turn the file's line ends into \\n first, as with tr"
    if "field limit" in error or "unexpected end" in error:
        return "a quotation mark is not closed, or a cell is larger than 131,072 characters"
    return error
