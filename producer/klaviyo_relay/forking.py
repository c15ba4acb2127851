"""What a fork waits for: locks that a child must not inherit taken by a thread that it has not got.

One place, so that they have one order: as they were registered, which begins with the lock of
`first_imports`. Whoever holds one of them must not wait for an earlier one.
"""

from __future__ import annotations

# First, so that a fork takes our locks before logging's (the last to register is the first asked):
# redis gets itself a logger while it is imported, and must not wait for a fork that waits for it.
import logging  # noqa: F401 - for its own lock at a fork
import os
from collections.abc import Callable, Iterator
from threading import RLock

_waited_for: list[Callable[[], Iterator[RLock]]] = []
_taken: list[RLock] = []


def let_forks_wait_for(locks: Callable[[], Iterator[RLock]]) -> None:
    """From now on each fork takes these locks first.

    Args:
        locks: asked at each fork; each lock is taken before the next one is asked for.
    """
    _waited_for.append(locks)


def _take() -> None:
    # A module with locks of its own may be imported, and come in, until we hold the first lock.
    for locks in _waited_for:
        for lock in locks():
            lock.acquire()
            _taken.append(lock)


def _release() -> None:
    # Forgotten before the first one is free: then another thread's fork goes on.
    taken = _taken.copy()
    _taken.clear()
    for lock in reversed(taken):
        lock.release()


os.register_at_fork(before=_take, after_in_parent=_release, after_in_child=_release)
