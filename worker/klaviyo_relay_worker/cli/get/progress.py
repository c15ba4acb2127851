"""Progress: rows so far, on a standard error that a person watches while the rows go elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

import click

_ERASE = "\r\x1b[K"


class Progress:
    """Says how many rows there are so far, and how fast they come; a context.

    Args:
        is_shown: whether to say anything.
        clock: seconds; to be replaced in tests.
    """

    def __init__(self, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_shown = is_shown
        self._clock = clock
        self._began = clock()
        self.rows = 0

    def add(self, rows: int) -> None:
        """So many more."""
        self.rows += rows
        if self._is_shown:
            seconds = max(self._clock() - self._began, 0.001)
            told = f"{self.rows:,} rows, {self.rows / seconds:,.0f}/s"
            click.echo(_ERASE + told, nl=False, err=True)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave the line to others."""
        if self._is_shown:
            click.echo(_ERASE, nl=False, err=True)


def is_watched(*, writes_file: bool) -> bool:
    """Whether a person sees standard error, and the rows do not run through the same screen."""
    return is_terminal(sys.stderr) and (writes_file or not is_terminal(sys.stdout))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads this; a stream that was closed before the start is None."""
    return stream is not None and stream.isatty()
