"""The standby: delivers in threads of its own while Celery cannot carry the wake-up calls.

The broker may be away, or full, or its messages may get lost; the lanes, and Klaviyo, need none of
it. A second planner that comes to a lane finds the lease taken, so this may err to the safe side.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from klaviyo_relay.keys import split
from klaviyo_relay_worker.planner import Planner

logger = logging.getLogger("klaviyo_relay_worker.standby")

# One lane each: an account has eight, and those with most to do hold a thread longest. Where there
# are several accounts, none has more than half.
THREADS_MOST = 8


class Standby:
    """One thread a lane, for one turn.

    Args:
        planner: gives this process's planner.
        begins: told a lane's name before its turn.
        goes_on: told a lane's name after a turn that left more to do.
    """

    def __init__(
        self,
        planner: Callable[[], Planner],
        begins: Callable[[str], None],
        goes_on: Callable[[str], None],
    ) -> None:
        self._planner = planner
        self._begins = begins
        self._goes_on = goes_on
        self._guard = threading.Lock()
        self._at_work: dict[str, threading.Thread] = {}
        self._is_over = False
        os.register_at_fork(after_in_child=self._start_afresh)

    def take(self, name: str) -> bool:
        """Deliver a lane here; returns whether that has begun.

        Raises:
            redis.RedisError: Redis is away.
        """
        if not self._planner().may_deliver(*split(name)):
            return False
        with self._guard:
            if self._is_over or name in self._at_work or self._is_full(name):
                return False
            thread = threading.Thread(
                target=self._work, args=(name,), name=f"klaviyo-relay-standby-{name}", daemon=True
            )
            self._at_work[name] = thread
            thread.start()
        return True

    def _is_full(self, name: str) -> bool:
        account, _ = split(name)
        own = sum(split(other)[0] == account for other in self._at_work)
        most = THREADS_MOST // 2 if self._planner().has_many_accounts else THREADS_MOST
        return own >= most or len(self._at_work) >= THREADS_MOST

    def end(self, seconds: float) -> None:
        """Take no more, and wait for what is under way; `seconds` at most."""
        with self._guard:
            self._is_over = True
            threads = list(self._at_work.values())
        until = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self, name: str) -> None:
        has_more = False
        try:
            self._begins(name)
            has_more = self._planner().deliver(*split(name))
        except RedisError as error:
            logger.warning("cannot deliver %s while Redis is away: %s", name, error)
        except Exception:
            logger.exception("the delivery of %s failed", name)
        finally:
            with self._guard:
                self._at_work.pop(name, None)
        if has_more:
            self._ring_again(name)

    def _ring_again(self, name: str) -> None:
        try:
            self._goes_on(name)
        except RedisError as error:
            logger.warning("%s waits for the next sweep: %s", name, error)

    def _start_afresh(self) -> None:
        """A forked child has none of its parent's threads."""
        self._guard = threading.Lock()
        self._at_work = {}
