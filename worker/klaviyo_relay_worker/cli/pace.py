"""The pace at which a person lets commands go back to work."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import click

Thing = TypeVar("Thing")

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/([smh]))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
# Parts of so many seconds' worth: smooth enough, and few enough scripts.
_PART_SECONDS = 0.2


def rate_of(text: str) -> float:
    """So many a second, from 50/s, 50 or 600/m.

    Raises:
        click.BadParameter: it is none of these, or nothing at all.
    """
    found = _RATE.fullmatch(text)
    number = float(found[1]) / _SECONDS[found[2] or "s"] if found else 0.0
    if not number:
        raise click.BadParameter("must be a rate such as 50/s or 600/m")
    return number


class Pace:
    """Hands things out at a rate.

    Args:
        rate: so many a second; None: all at once.
        clock, sleep: for tests.
    """

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock, self._sleep = clock, sleep
        self._began = clock()
        self._handed_out = 0

    def parts(self, things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
        """The things in order, each part when its time has come."""
        size = len(things) if self._rate is None else max(1, int(self._rate * _PART_SECONDS))
        for start in range(0, len(things), size):
            self._wait()
            part = things[start : start + size]
            self._handed_out += len(part)
            yield part

    def _wait(self) -> None:
        if self._rate is not None:
            due = self._began + self._handed_out / self._rate
            self._sleep(max(0.0, due - self._clock()))
