"""Rows: what all readers give, and the lines that two of them read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, NamedTuple, Protocol

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError

# More than any command may have (validation.COMMAND_MAX_BYTES); what is longer is cut there.
LINE_MOST = 8 * 2**20
_BUFFER_BYTES = 2**18
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class Broken(NamedTuple):
    """A row that could not be read.

    Attributes:
        field: what it was to be.
        reason: what is wrong with it.
        text: as far as there is any.
    """

    field: str
    reason: str
    text: str = ""


class Patchy(tuple[Any, ...]):
    """The cells of a row of which some are `Unreadable`."""

    __slots__ = ()


# The line where it begins, and its cells by position or by name.
Row = tuple[int, Any]


class Reader(Protocol):
    """Reads rows one chunk after the other.

    Attributes:
        columns: names in the order of the cells; None where each row is an object with names.
        is_text: all cells are text.
        position: behind the last row that was read.
    """

    is_text: bool

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns."""

    @property
    def position(self) -> Position:
        """The place behind the last chunk."""

    @property
    def share(self) -> float | None:
        """How much has been read, from 0 to 1; None if nobody knows."""

    def seek(self, position: Position) -> None:
        """Go on behind a place where an earlier reader of the same content has been."""

    def read(self, most: int) -> list[Row]:
        """The next rows; none at the end."""

    def close(self) -> None:
        """Close what is open."""


class Bytes:
    """The bytes of a file or stream, unpacked if they are gzip, and how far they were read.

    Attributes:
        offset: unpacked bytes that were handed out.
    """

    def __init__(self, file: IO[bytes], size: int = 0) -> None:
        """Begin at the beginning.

        Args:
            size: bytes of the file as it is on the disk; 0 if nobody knows.
        """
        self._packed, self._size = file, size
        self._file: IO[bytes] = file
        self.offset = 0
        if _peek(file, 2) == b"\x1f\x8b":
            import io

            unpacked: Any = gzip.GzipFile(fileobj=file)
            self._file = io.BufferedReader(unpacked, _BUFFER_BYTES)

    @property
    def share(self) -> float | None:
        """Read so far, from 0 to 1, by the bytes on the disk."""
        if not self._size:
            return None
        read = self.offset if self._file is self._packed else self._packed.tell()
        return min(1.0, read / self._size)

    def seek(self, offset: int) -> None:
        """Go to an offset; in gzip by unpacking all that is before it."""
        try:
            self._file.seek(offset)
        except _DAMAGED as error:
            raise _damage(error, self.offset) from error
        self.offset = offset

    def lines(self) -> Iterator[bytes]:
        """Line after line; one that is longer than LINE_MOST comes in parts."""
        try:
            for line in iter(partial(self._file.readline, LINE_MOST), b""):
                self.offset += len(line)
                yield line
        except _DAMAGED as error:
            raise _damage(error, self.offset) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._packed.close()


def _peek(file: Any, many: int) -> bytes:
    return bytes(file.peek(many)[:many])


def _damage(error: Exception, offset: int) -> LoadError:
    return LoadError(
        f"the gzip data are damaged or cut off {offset:,} unpacked bytes from the beginning"
        f" ({error}); what was before that is loaded"
    )
