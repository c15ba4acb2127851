"""The clock: Redis's time, carried on by this machine's monotonic clock.

What a lane waits for is written down by one worker and read by others, and a machine's clock may
jump: an hour ahead for a second, and a lane would wait for an hour. So all go by Redis's time.
"""

from __future__ import annotations

import time


class Clock:
    """Set once, by a time that Redis has just told.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, now: float) -> None:
        self._ahead = now - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._ahead + time.monotonic()
