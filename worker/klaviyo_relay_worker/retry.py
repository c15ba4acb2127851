"""Backoff: how long to wait before the next try. Pure; chance is passed in."""

from __future__ import annotations

from collections.abc import Callable

OUTAGE_FIRST_SECONDS, OUTAGE_MOST_SECONDS = 0.5, 60.0
# A parked command that Klaviyo fails with: what ails Klaviyo there is mended by people.
PARKED_FIRST_SECONDS, PARKED_MOST_SECONDS = 30.0, 3600.0
# A lane is never asked again sooner than this after a failure, whatever chance says.
LEAST_SECONDS = 0.2
# Klaviyo's longest short window is a minute; a hostile Retry-After may not stop a lane.
RETRY_AFTER_MOST_SECONDS = 15 * 60.0


def backoff(failures: int, chance: float) -> float:
    """Full jitter: evenly spread between almost nothing and a ceiling that doubles each time.

    Args:
        failures: how many there were in a row, from 1.
        chance: a number in [0, 1).

    Returns:
        Seconds.
    """
    exponent = min(max(failures, 1) - 1, 16)
    ceiling = min(OUTAGE_MOST_SECONDS, OUTAGE_FIRST_SECONDS * 2.0**exponent)
    return max(LEAST_SECONDS, chance * ceiling)


def backoff_of_parked(attempts: int, chance: float) -> float:
    """How long a command waits that goes by itself: half fixed, half spread, doubling to an hour.

    Args:
        attempts: how many have failed, from 1.
        chance: a number in [0, 1).

    Returns:
        Seconds.
    """
    exponent = min(max(attempts, 1) - 1, 16)
    ceiling = min(PARKED_MOST_SECONDS, PARKED_FIRST_SECONDS * 2.0**exponent)
    return ceiling * (0.5 + chance / 2)


def after_throttling(retry_after: str | None, failures: int, random: Callable[[], float]) -> float:
    """Seconds to wait after a 429: what Klaviyo says, at least the backoff, plus a little jitter.

    Args:
        retry_after: the header's value: whole seconds.
        failures: 429s in a row, from 1.
        random: gives numbers in [0, 1).
    """
    said = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
    waited = min(said, RETRY_AFTER_MOST_SECONDS)
    return max(waited, backoff(failures, random())) + random() * 0.25
