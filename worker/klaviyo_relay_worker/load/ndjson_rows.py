"""Rows of an NDJSON file: a JSON object on each line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any

import msgspec

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.rows import LINE_MOST, Broken, Bytes, Row

_decode = msgspec.json.Decoder().decode
_TOO_LONG = Broken("json", f"the line is longer than {LINE_MOST:,} bytes")


class NdjsonRows:
    """Reads NDJSON; see `Reader`."""

    columns = None
    is_text = False

    def __init__(self, data: Bytes) -> None:
        """Begin at the first line.

        Raises:
            UsageFaultsError: there are no lines, but one array.
        """
        if data.peek().lstrip().startswith(b"["):
            raise UsageFaultsError(
                ["this is a JSON array; it must be an object on each line, as jq -c '.[]' makes"]
            )
        self._bytes = data
        self._row, self._line = 0, 0
        self._lines = data.lines()

    @property
    def position(self) -> Position:
        """The place behind the last chunk."""
        return Position(self._bytes.offset, self._row, self._line)

    @property
    def share(self) -> float | None:
        """How much has been read, from 0 to 1."""
        return self._bytes.share

    def seek(self, position: Position) -> None:
        """Go on behind a row."""
        self._bytes.seek(position.offset)
        self._row, self._line = position.row, position.line
        self._lines = self._bytes.lines()

    def read(self, most: int) -> list[Row]:
        """The next rows; lines with nothing on them are none."""
        rows: list[Row] = []
        for line in self._lines:
            self._line += 1
            found = self._skip_rest(line) if _is_cut(line) else _row_of(line)
            if found is not None:
                rows.append((self._line, found))
            if len(rows) == most:
                break
        self._row += len(rows)
        if not rows:
            self._bytes.check_whole()
        return rows

    def _skip_rest(self, line: bytes) -> Broken:
        parts: Iterator[bytes] = self._lines
        while _is_cut(line):
            line = next(parts, b"\n")
        return _TOO_LONG

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()


def _is_cut(line: bytes) -> bool:
    return len(line) >= LINE_MOST and not line.endswith(b"\n")


def _row_of(line: bytes) -> Any:
    try:
        found = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if line.startswith(codecs.BOM_UTF8):
            return _row_of(line.removeprefix(codecs.BOM_UTF8))
        if not line.strip():
            return None
        return Broken("json", str(error), line.decode("utf-8", "backslashreplace"))
    if type(found) is dict:
        return found
    return Broken("json", "must be an object", line.decode("utf-8", "backslashreplace"))
