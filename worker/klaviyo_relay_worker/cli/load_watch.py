"""What a person sees of a load: a progress bar where there is a terminal, and a summary."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import click

from klaviyo_relay_worker.load.estimate import seconds_for
from klaviyo_relay_worker.load.making import Maker

_STEPS = 1_000
_SHOWN_EVERY_SECONDS = 0.2


class TerminalWatch:
    """Tells on standard error.

    Attributes:
        has_bar: standard error is a terminal, so there is a progress bar.
    """

    def __init__(self) -> None:
        self.has_bar = sys.stderr.isatty()
        self._bar: Any = None
        self._lock = threading.Lock()
        self._said = ""
        self._began, self._shown_at, self._steps = time.monotonic(), 0.0, 0
        self._rows_before: int | None = None
        self._text = ""

    def say(self, text: str) -> None:
        """A line of its own, unless it was the last one already."""
        with self._lock:
            if text != self._said:
                self._said = text
                over_the_bar = "" if self._bar is None else "\r\x1b[K"
                click.echo(f"{over_the_bar}{text}", err=True)

    def advance(self, rows: int, share: float | None, maker: Maker) -> None:
        """Move the bar."""
        now = time.monotonic()
        if not self.has_bar or now - self._shown_at < _SHOWN_EVERY_SECONDS:
            return
        self._shown_at = now
        with self._lock:
            self._text = self._told(rows, share, maker, now)
            self._move(share)

    def _told(self, rows: int, share: float | None, maker: Maker, now: float) -> str:
        if self._rows_before is None:
            self._rows_before, self._began = rows, now
        rate = (rows - self._rows_before) / max(0.001, now - self._began)
        count = sum(maker.counts.values())
        whole = seconds_for(maker.counts, maker.bytes / max(1, count)) / (share or 1.0)
        return f"{rows:,} rows, {rate:,.0f}/s; Klaviyo needs {told_seconds(whole)} or more"

    def _move(self, share: float | None) -> None:
        if self._bar is None:
            self._bar = click.progressbar(
                length=_STEPS if share is not None else None,
                file=sys.stderr,
                label="loading",
                item_show_func=lambda _item: self._text,
            )
            self._bar.__enter__()
        steps = int((share or 0.0) * _STEPS)
        self._bar.update(steps - self._steps, self._text)
        self._steps = steps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.__exit__(kind, error, traceback)


def told_seconds(seconds: float) -> str:
    """A span for people: 40 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
