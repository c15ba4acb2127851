"""How long to wait after a failure: spread evenly under a ceiling that doubles with each one."""

from __future__ import annotations

import random

# An outage may last for days, and a float holds no power of two beyond its 1,023rd.
_DOUBLINGS_MOST = 64


class Backoff:
    """The waits after failures in a row.

    Args:
        first: seconds under which, doubled, the first wait is.
        most: seconds that no wait exceeds.

    Attributes:
        failures: in a row, so far.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self.failures: int = 0

    def wait(self) -> float:
        """Count a failure; returns how many seconds to wait, of the ceiling a half at the least."""
        self.failures += 1
        ceiling = min(self._most, self._first * 2 ** min(self.failures, _DOUBLINGS_MOST))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing

    def forget(self) -> None:
        """It went well: the next failure is the first."""
        self.failures = 0
