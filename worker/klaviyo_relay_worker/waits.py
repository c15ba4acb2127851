"""Waits: whether a time that was noted in Redis still holds something up. Pure.

Such a time lies no further ahead than the longest wait of its kind. One that does was noted before
Redis's clock was set back (another server has taken over, or a person has mended its clock), and
would hold everything up for as long.
"""

from __future__ import annotations

from klaviyo_relay_worker.retry import RETRY_AFTER_MOST_SECONDS

# So much the clocks of a cluster's servers may differ.
CLOCKS_DIFFER_SECONDS = 1.0
# No lane snoozes longer without a look: the longest Retry-After that is obeyed, with its jitter.
SNOOZE_MOST_SECONDS = RETRY_AFTER_MOST_SECONDS + 1.0


def seconds_ahead(when: float, now: float, most: float) -> float:
    """How far a time lies ahead; 0 if it has come, or counts no more.

    Args:
        when, now: in seconds since 1970, by Redis's clock.
        most: the longest wait of its kind, in seconds.
    """
    wait = when - now
    return wait if 0 < wait <= most else 0.0


def snooze_left(since: float, until: float, now: float) -> float:
    """For how many more seconds a lane snoozes.

    Args:
        since, until: when it began to snooze, and when that ends. A beginning that lies ahead was
            noted before Redis's clock was set back: such a snooze counts no more.
        now: all three in seconds since 1970, by Redis's clock.
    """
    if since > now + CLOCKS_DIFFER_SECONDS:
        return 0.0
    return seconds_ahead(until, now, SNOOZE_MOST_SECONDS)
