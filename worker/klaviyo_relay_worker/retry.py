"""Backoff: how long to wait before the next try. Pure; chance is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

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


def after_throttling(
    headers: Mapping[str, str], failures: int, random: Callable[[], float]
) -> float:
    """Seconds to wait after a 429: what Klaviyo says, at least the backoff, plus a little jitter.

    Args:
        headers: of the answer, with lower-case names.
        failures: answers in a row that did not say how long to wait, or outages, from 1.
        random: gives numbers in [0, 1).
    """
    return max(retry_after(headers), backoff(failures, random())) + random() * 0.25


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that an answer says to wait; 0 where it does not say, or says nonsense.

    Klaviyo sends whole seconds. What stands before it may send a date instead (RFC 9110, 10.2.3),
    which is taken by the clock of whoever sent it, since ours may be wrong.
    """
    said = headers.get("retry-after", "").strip()
    try:
        if said.isdecimal():
            seconds = float(said)
        else:
            then = parsedate_to_datetime(said)
            seconds = (then - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError):  # no date; or one of them has no time zone
        return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_MOST_SECONDS)
