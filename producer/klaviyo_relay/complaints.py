"""Saying a trouble that lasts often enough to be seen, and not at every turn."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from klaviyo_relay.errors import RelayError

EVERY_SECONDS = 60.0


class Complaints:
    """When to complain of one trouble: at once, and then once a minute."""

    def __init__(self) -> None:
        self._said_at: float | None = None

    def is_due(self) -> bool:
        """Whether to say it now; then it counts as said."""
        # Not from zero: the clock may have begun when the machine did, a moment ago.
        now = time.monotonic()
        if self._said_at is not None and now - self._said_at < EVERY_SECONDS:
            return False
        self._said_at = now
        return True


@contextmanager
def saying() -> Iterator[None]:
    """For what a thread logs that nobody would start anew.

    A log that cannot be written, since its disk is full or a filter fails, does not end it. What
    failed goes to the standard error, as logging's own handlers do with it.
    """
    try:
        yield
    except Exception:  # noqa: BLE001 - a filter, or a handler, may raise anything
        with suppress(Exception):  # there may be no standard error, and nobody else to tell
            traceback.print_exc()


def is_weather(error: Exception, *more: type[Exception]) -> bool:
    """Whether it is the weather (Redis, the network, a disk) and not a fault of ours.

    Args:
        error: what went wrong.
        more: what counts as weather besides, such as a database's errors.
    """
    # redis may not even be imported, so its errors are known by where they come from.
    from_redis = type(error).__module__.startswith("redis.")
    return from_redis or isinstance(error, (RelayError, OSError, *more))
