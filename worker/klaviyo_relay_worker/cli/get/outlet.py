"""Outlets: where the text goes: standard output, or a file that is whole or not there."""

from __future__ import annotations

import os
import sys
from errno import EBADF
from io import FileIO
from pathlib import Path
from typing import Protocol, Self, TextIO


class Outlet(Protocol):
    """Takes text, page by page; a context that ends well or with an error."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Finish, or keep whole pages for another run to go on."""

    def write(self, text: str) -> None:
        """Write a page, all of it."""


class StandardOutput:
    """What a pipe or a terminal reads."""

    def __init__(self) -> None:
        stream: TextIO | None = sys.stdout
        if stream is None:
            raise OSError(EBADF, "standard output is closed")
        self._stream = stream.buffer

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is left: each page was flushed."""

    def write(self, text: str) -> None:
        """Write a page; who reads sees it at once."""
        if text:
            self._stream.write(_encoded(text))
            self._stream.flush()


class PartFile:
    """FILE, written as FILE.part and renamed at the end. For its owner only: it is private.

    Opened with the first page, so that a run that reads nothing leaves an older part alone.

    Args:
        path: of FILE.
        goes_on: add to a part that is there, rather than begin anew.
    """

    def __init__(self, path: Path, *, goes_on: bool) -> None:
        self._path = path
        self._goes_on = goes_on
        self._file: FileIO | None = None
        self._whole = 0

    @property
    def part(self) -> Path:
        """What is written meanwhile."""
        return self._path.with_name(f"{self._path.name}.part")

    @property
    def has_begun(self) -> bool:
        """Whether an earlier run's pages are in it already."""
        return self._goes_on and self.part.exists() and self.part.stat().st_size > 0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Rename; after an error keep the whole pages."""
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.truncate(self._whole)
            self._file.close()

    def write(self, text: str) -> None:
        """Write a page."""
        file = self._opened()
        left = memoryview(_encoded(text))
        while left:
            left = left[file.write(left) :]
        self._whole = file.tell()

    def _opened(self) -> FileIO:
        if self._file is None:
            mode = os.O_APPEND if self._goes_on else os.O_TRUNC
            flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | mode
            descriptor = os.open(self.part, flags, 0o600)
            # The mode above is for a new file only.
            os.fchmod(descriptor, 0o600)
            # Unbuffered, so that nothing is left to be written when the disk is full.
            self._file = os.fdopen(descriptor, "ab" if self._goes_on else "wb", buffering=0)
            self._whole = self._file.tell()
        return self._file

    def _finish(self) -> None:
        with self._opened() as file:
            os.fsync(file.fileno())
        self.part.replace(self._path)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
