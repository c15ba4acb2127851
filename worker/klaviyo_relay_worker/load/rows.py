"""Rows: what all readers give, and the lines that two of them read."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, NamedTuple, Protocol

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError

# More than any command may have (validation.COMMAND_MAX_BYTES); what is longer is cut there.
LINE_MOST = 8 * 2**20
_BUFFER_BYTES = 2**18
_PEEKED_BYTES = 512
_UTF_16 = "this is UTF-16: turn it into UTF-8 first, as with iconv -f UTF-16 -t UTF-8"
# What a file that is no text begins with.
_FOREIGN = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"\x28\xb5\x2f\xfd": "this is packed with zstd: unpack it first, as with zstd -d",
    b"\xfd7zXZ\x00": "this is packed with xz: unpack it first, as with xz -d",
    b"PK\x03\x04": "this is a ZIP archive or a workbook: unpack it first, or save it as CSV",
}
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
        offset: unpacked bytes that were handed out, or left out as a byte order mark.
    """

    def __init__(self, file: IO[bytes], size: int = 0) -> None:
        """Begin at the beginning.

        Args:
            size: bytes of the file as it is on the disk; 0 if nobody knows.

        Raises:
            UsageFaultsError: this is no text, or of a kind that must be turned into UTF-8 first.
            LoadError: the data are damaged.
        """
        self._packed, self._size = file, size
        self._file: IO[bytes] = file
        self._damage: LoadError | None = None
        self.offset = 0
        if _peek(file, 2) == b"\x1f\x8b":
            unpacked: Any = _Unpacked(fileobj=file)
            self._file = io.BufferedReader(unpacked, _BUFFER_BYTES)
        self._begin()

    def _begin(self) -> None:
        try:
            begins = self.peek()
        except _DAMAGED as error:
            raise _damage(error, 0) from error
        for mark, said in _FOREIGN.items():
            if begins.startswith(mark):
                raise UsageFaultsError([said])
        if begins.startswith(codecs.BOM_UTF8):
            self.offset = len(self._file.read(len(codecs.BOM_UTF8)))

    def peek(self) -> bytes:
        """Some of what comes next."""
        return _peek(self._file, _PEEKED_BYTES)

    @property
    def share(self) -> float | None:
        """Read so far, from 0 to 1, by the bytes on the disk."""
        if not self._size:
            return None
        read = self.offset if self._file is self._packed else self._packed.tell()
        return min(1.0, read / self._size)

    @property
    def is_damaged(self) -> bool:
        """The lines have come to an end before the data have."""
        return self._damage is not None

    def seek(self, offset: int) -> None:
        """Go to an offset; in gzip by unpacking all that is before it."""
        try:
            self._file.seek(offset)
        except _DAMAGED as error:
            raise _damage(error, self.offset) from error
        self.offset = offset

    def lines(self) -> Iterator[bytes]:
        """Line after line, also up to where they are damaged; see `check_whole`.

        One that is longer than LINE_MOST comes in parts.
        """
        try:
            for line in iter(partial(self._file.readline, LINE_MOST), b""):
                self.offset += len(line)
                yield line
        except _DAMAGED as error:
            self._damage = _damage(error, self.offset)

    def check_whole(self) -> None:
        """Look, once all lines are loaded, whether they were all.

        Raises:
            LoadError: the data are damaged.
        """
        if self._damage is not None:
            raise self._damage

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._packed.close()


class _Unpacked(gzip.GzipFile):
    """Gives all that there is before it says that there should be more."""

    def readinto(self, buffer: Any) -> int:
        return self.readinto1(buffer)


def _peek(file: Any, many: int) -> bytes:
    return bytes(file.peek(many)[:many])


def _damage(error: Exception, offset: int) -> LoadError:
    return LoadError(
        f"the gzip data are damaged or cut off {offset:,} unpacked bytes from the beginning"
        f" ({error}); what was before that is loaded"
    )
