"""Rejects: the rows that became no command, one JSON object a line, for a person to mend.

Values are private: the row itself is written only where that was asked for, and the file is its
owner's alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from klaviyo_relay_worker.load.errors import LoadError

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

    A load that is resumed cuts off what was written after its checkpoint: those rows come again.
    """

    def __init__(self, path: Path, *, with_rows: bool, size: int = 0) -> None:
        self._path = path
        self._with_rows = with_rows
        self._file = self._open() if path.exists() or size else None
        self.size = 0
        if self._file is not None:
            self.size = min(size, self._file.seek(0, os.SEEK_END))
            self._file.truncate(self.size)
            self._file.seek(self.size)

    def _open(self) -> Any:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.fchmod(descriptor, 0o600)
            return os.fdopen(descriptor, "r+b")
        except OSError as error:
            raise LoadError(
                f"cannot write {self._path} ({error.strerror}); name a file with --rejects"
            ) from error

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
                f"cannot write {self._path} ({error.strerror}); name a file with --rejects"
            ) from error

    def close(self) -> None:
        """Sync and close; a file without refusals is not left behind."""
        if self._file is None:
            return
        self.sync()
        self._file.close()
        if not self.size:
            self._path.unlink()


def _printable(row: Any) -> Any:
    if isinstance(row, UnsetType):
        return row
    if isinstance(row, str):
        return row.encode("utf-8", "backslashreplace").decode()
    if isinstance(row, dict):
        return {_printable(name): _printable(value) for name, value in row.items()}
    return [_printable(cell) for cell in row] if isinstance(row, (list, tuple)) else row
