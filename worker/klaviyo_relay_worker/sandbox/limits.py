"""Klaviyo's rate limits: fixed windows per account and endpoint.

Source: `x-klaviyo-ratelimit` of Klaviyo OpenAPI 2026-07-15 for the figures, its rate limit
guide for the kind of window, recorded answers for the headers. A burst window lasts a second,
a steady one a minute, a few endpoints have a daily one. The second limits that query
parameters stack on top (`include`, some `additional-fields`) are not modelled.
"""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

from .times import Clock

BURST_SECONDS, STEADY_SECONDS, DAILY_SECONDS = 1, 60, 86_400


class Tier(NamedTuple):
    """How many calls an endpoint takes: per second, per minute and, if set, per day."""

    burst: int
    steady: int
    daily: int | None = None

    def windows(self) -> tuple[tuple[int, int], ...]:
        """(length in seconds, calls) of every window, shortest first."""
        both = ((BURST_SECONDS, self.burst), (STEADY_SECONDS, self.steady))
        return both if self.daily is None else (*both, (DAILY_SECONDS, self.daily))


S = Tier(3, 60)
M = Tier(10, 150)
M_DAILY = Tier(10, 150, 150)
L = Tier(75, 750)
XL = Tier(350, 3500)


class Grant(NamedTuple):
    """A call that may pass, with what its RateLimit headers say."""

    headers: tuple[tuple[str, str], ...]


class Throttle(NamedTuple):
    """A call that came too early: whole seconds until the fullest window ends."""

    retry_after: int


class RateLimits:
    """Counts calls in windows aligned to the clock; any thread may ask."""

    def __init__(self, clock: Clock) -> None:
        """Count by `clock` (epoch seconds)."""
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, int], tuple[int, int]] = {}

    def take(self, account: str, endpoint: str, tier: Tier) -> Grant | Throttle:
        """Count one call against every window, or against none when one of them is full."""
        now = self._clock()
        with self._lock:
            used = [self._used(account, endpoint, length, now) for length, _ in tier.windows()]
            waits = [
                _remaining_seconds(length, now)
                for (length, calls), taken in zip(tier.windows(), used, strict=True)
                if taken >= calls
            ]
            if waits:
                return Throttle(max(waits))
            for (length, _), taken in zip(tier.windows(), used, strict=True):
                self._counts[account, endpoint, length] = (int(now // length), taken + 1)
        return Grant(_headers(tier, used[0] + 1))

    def use_up(self, endpoint: str, tier: Tier, calls: int) -> int:
        """Another integration makes calls with the keys of every account that was seen here.

        Returns how many of them were within the limits.
        """
        with self._lock:
            accounts = {account for account, _, _ in self._counts}
        grants = 0
        for account in sorted(accounts):
            for _ in range(calls):
                grants += isinstance(self.take(account, endpoint, tier), Grant)
        return grants

    def clear(self) -> None:
        """Forget every count."""
        with self._lock:
            self._counts.clear()

    def _used(self, account: str, endpoint: str, length: int, now: float) -> int:
        window, taken = self._counts.get((account, endpoint, length), (-1, 0))
        return taken if window == int(now // length) else 0


def _remaining_seconds(length: int, now: float) -> int:
    return max(1, math.ceil(length - now % length))


def _headers(tier: Tier, taken: int) -> tuple[tuple[str, str], ...]:
    """As recorded: all windows in RateLimit-Limit, the burst window alone in the other two."""
    limit = ", ".join([str(tier.burst), *(f"{n};w={length}" for length, n in tier.windows())])
    return (
        ("RateLimit-Limit", limit),
        ("RateLimit-Remaining", str(tier.burst - taken)),
        ("RateLimit-Reset", "0"),
    )
