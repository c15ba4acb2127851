"""Damaged spool files: known as such, and read as far as the disk still gives something."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from klaviyo_relay.spool import Row, connect, files_of, reading

# No row is smaller on the disk: its lane, its time, and an envelope with an id.
_ROW_LEAST_BYTES = 60
# What SQLite may give for damaged bytes, beside its own errors: text that is no UTF-8.
_DAMAGE = (sqlite3.DatabaseError, UnicodeError)


class Salvaged(NamedTuple):
    """What could be read of a damaged file.

    Attributes:
        rows: in order.
        unreadable: how many numbers before the last of them could not be read.
    """

    rows: list[Row]
    unreadable: int


def check_rows(rows: Sequence[Row], after: int) -> None:
    """Refuse rows that only a damaged file gives: numbers that do not rise, fields of other types.

    Raises:
        sqlite3.DatabaseError: the file is damaged, though SQLite did not notice.
    """
    last = after
    for number, lane, message in rows:
        if number <= last or not _is_row(lane, message):
            raise sqlite3.DatabaseError("a row is not as it was written")
        last = number


def _is_row(lane: object, message: object) -> bool:
    return type(lane) is str and ":" in lane and type(message) is bytes


def salvage(path: Path) -> Salvaged:
    """Read whatever a damaged file still gives; never raises for the damage.

    Raises:
        FileNotFoundError: the file is gone.
        sqlite3.OperationalError: it cannot be opened.
    """
    found: dict[int, Row] = {}
    with reading:
        connection = connect(path, "ro")
        try:
            first, last = _span(connection, path)
            _read_around_damage(connection, first, last, found)
        finally:
            connection.close()
    rows = [found[number] for number in sorted(found)]
    span = rows[-1][0] - rows[0][0] + 1 if rows else 0
    return Salvaged(rows, span - len(rows))


def _span(connection: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """Between which numbers the file's rows are; guessed from its size where an end is damaged."""
    most = sum(file.stat().st_size for file in files_of(path) if file.exists()) // _ROW_LEAST_BYTES
    first, last = _end(connection, "ASC"), _end(connection, "DESC")
    if first is None and last is None:
        return 1, most
    if first is None:
        return max(1, (last or 0) - most), last or 0
    return first, first + most if last is None else last


def _end(connection: sqlite3.Connection, order: str) -> int | None:
    """The number of the first row in this order; 0 if there is none, None if it is damaged."""
    try:
        query = f"SELECT row FROM rows ORDER BY row {order} LIMIT 1"  # noqa: S608 - two constants
        found = connection.execute(query).fetchone()
    except _DAMAGE:
        return None
    return int(found[0]) if found else 0


def _read_around_damage(
    connection: sqlite3.Connection, first: int, last: int, found: dict[int, Row]
) -> None:
    """Read a span of rows, in halves where it is damaged."""
    if first > last:
        return
    query = "SELECT row, lane, message FROM rows WHERE row BETWEEN ? AND ?"
    arguments: tuple[int, ...] = (first, last)
    if first == last:
        # Not a span: SQLite would look on at the next row, which may be the damaged one.
        query, arguments = "SELECT row, lane, message FROM rows WHERE row = ?", (first,)
    try:
        rows = connection.execute(query, arguments).fetchall()
    except _DAMAGE:
        if first < last:
            middle = (first + last) // 2
            _read_around_damage(connection, first, middle, found)
            _read_around_damage(connection, middle + 1, last, found)
        return
    for row in rows:
        if first <= row[0] <= last and _is_row(row[1], row[2]):
            found[row[0]] = row
