"""Rejects: the rows that became no command, one JSON object a line, for a person to mend.

Values are private: the row itself is written only where that was asked for, and the file is its
owner's alone.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from klaviyo_relay_worker.load.content import claim
from klaviyo_relay_worker.load.errors import LoadError

_PRIVATE = 0o600
_encoder = msgspec.json.Encoder(enc_hook=str)


class Refusal(Struct, frozen=True):
    """Why a row became no command.

    Attributes:
        line: where it begins in the file; for Parquet and SQL the number of the row.
        field: of the command, or what the row is to be.
        reason: the rule that it breaks.
        row: its cells, where they were asked for.
    """

    line: int
    field: str
    reason: str
    row: Any = UNSET


class RejectFile:
    """The reject file of a load; made when the first row is refused.

    A file that is there already is another load's, and somebody may be mending it: it is left
    alone, and the next free name is taken. A load that is resumed goes on with its own file, and
    cuts off what was written after its checkpoint: those rows come again.

    Attributes:
        path: where it is.
        size: its bytes.
    """

    def __init__(self, path: Path, *, with_rows: bool, name: str = "", size: int = 0) -> None:
        """Make ready to write.

        Args:
            path: where it is to be.
            name, size: of the file that an earlier run of this load has left there.
        """
        is_ours = _is_named_after(path, name or path.name)
        self.path = path.with_name(name) if is_ours and name and size else path
        self.size = size if is_ours else 0
        self._with_rows = with_rows
        self._file: Any = None

    def _open(self) -> Any:
        try:
            return self._gone_on_with() if self.size else self._made()
        except OSError as error:
            raise LoadError(
                f"cannot write {self.path} ({error.strerror}); name a file with --rejects"
            ) from error

    def _gone_on_with(self) -> Any:
        file = _opened(self.path)
        self.size = file.seek(min(self.size, file.seek(0, os.SEEK_END)))
        file.truncate()
        return file

    def _made(self) -> Any:
        asked, number = self.path, 1
        while _is_taken(file := _opened(self.path)):
            file.close()
            number += 1
            self.path = asked.with_name(f"{asked.stem}-{number}{asked.suffix}")
        return file

    def add(self, refusal: Refusal) -> None:
        """Write one refusal; it is on the disk after `sync`."""
        if self._file is None:
            self._file = self._open()
        kept: Any = refusal.row if self._with_rows else UNSET
        told = Refusal(refusal.line, refusal.field, refusal.reason, _printable(kept))
        self.size += self._file.write(_encoder.encode(told) + b"\n")

    def sync(self) -> None:
        """Bring it to the disk."""
        if self._file is None:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise LoadError(
                f"cannot write {self.path} ({error.strerror}); name a file with --rejects"
            ) from error

    def close(self) -> None:
        """Sync and close."""
        if self._file is None:
            return
        try:
            self.sync()
        finally:
            self._file.close()


def _is_named_after(path: Path, name: str) -> bool:
    numbered = rf"{re.escape(path.stem)}(-\d+)?{re.escape(path.suffix)}"
    return re.fullmatch(numbered, name) is not None


def _opened(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE), "r+b")


def _is_taken(file: Any) -> bool:
    """Something is in it, or another load is about to write into it."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return False
    try:
        claim(file, "the reject file")
    except LoadError:
        return True
    if file.seek(0, os.SEEK_END):
        return True
    os.fchmod(file.fileno(), _PRIVATE)
    return False


def _printable(row: Any) -> Any:
    if isinstance(row, UnsetType):
        return row
    if isinstance(row, str):
        return row.encode("utf-8", "backslashreplace").decode()
    if isinstance(row, dict):
        return {_printable(name): _printable(value) for name, value in row.items()}
    return [_printable(cell) for cell in row] if isinstance(row, (list, tuple)) else row
