"""Waiting for what another thread, process or server is about to do: asked again, never slept out.

Bounds are for what is broken. A healthy run never comes near them, so they are wide: two cores
that several test processes share have stalled a server's start for ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.01


def wait_until(
    is_so: Callable[[], T], seconds: float = 30.0, what: str | Callable[[], object] = ""
) -> T:
    """What `is_so` returns as soon as that is true.

    Args:
        is_so: asked again and again, at least once after the time is over.
        seconds: how long at most.
        what: said when it did not come true; a function (a log, say) is called only then.

    Raises:
        AssertionError: it did not come true in time.
    """
    until = time.monotonic() + seconds
    while True:
        is_over = time.monotonic() > until
        if found := is_so():
            return found
        if is_over:
            raise AssertionError(f"not so within {seconds} s: {what() if callable(what) else what}")
        time.sleep(PAUSE_SECONDS)


def for_a_while(seconds: float) -> Iterator[None]:
    """Turns of a loop until `seconds` are over: for what must not happen however often one asks."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
