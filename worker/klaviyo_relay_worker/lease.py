"""Leases: one planner a lane. A heartbeat renews them; a killed worker's pass on within 10 s.

A lease is not a lock on Klaviyo: a planner that was stopped for a while may wake up after its lease
went to another. So no request is sent unless it must end before the lease does, and every write to
the lane is refused to whoever no longer holds it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger("klaviyo_relay_worker.lease")

# With a second for the doorbell, a killed worker's lanes are taken over within ten.
LEASE_SECONDS = 9.0
RENEW_SECONDS = 1.0
# Plain SET and HSET are refused by a full Redis, and delivering is what makes room in it.
_TAKE = """#!lua flags=allow-oom
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
"""
_RENEW = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Lease:
    """The right to plan a lane.

    Attributes:
        key: in Redis.
        token: tells this holder from all others.
        taken_at: in monotonic seconds.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.token = uuid4().hex
        self.taken_at = time.monotonic()
        self._ends_at = 0.0

    def extend(self, asked_at: float) -> None:
        """It was granted or renewed by a call that began at `asked_at` (monotonic seconds)."""
        self._ends_at = asked_at + LEASE_SECONDS

    def lose(self) -> None:
        """Another one holds it."""
        self._ends_at = 0.0

    @property
    def remaining_seconds(self) -> float:
        """How long it certainly lasts, counted from before Redis was asked."""
        return max(0.0, self._ends_at - time.monotonic())


class Leases:
    """All leases of this process, and the thread that renews them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._take: Any = redis.register_script(_TAKE)
        self._renew: Any = redis.register_script(_RENEW)
        self._release: Any = redis.register_script(_RELEASE)
        self._held: dict[str, Lease] = {}
        # Leases that could not be given back, with the time from which on it is needless.
        self._owed: list[tuple[float, Lease]] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._seen_at = 0.0

    @property
    def silent_seconds(self) -> float:
        """How long the heartbeat has been silent although there is something to renew; else 0."""
        with self._changed:
            since = max([self._seen_at, *(lease.taken_at for lease in self._held.values())])
            return time.monotonic() - since if self._held else 0.0

    @property
    def longest_held_seconds(self) -> float:
        """Age of the oldest lease that this process holds; 0 if it holds none."""
        with self._changed:
            now = time.monotonic()
            return max((now - lease.taken_at for lease in self._held.values()), default=0.0)

    def take(self, key: str) -> Lease | None:
        """The lease, or None while another planner has it."""
        lease = Lease(key)
        asked_at = time.monotonic()
        if not self._take(keys=[key], args=[lease.token, int(LEASE_SECONDS * 1000)]):
            return None
        lease.extend(asked_at)
        with self._changed:
            self._held[lease.token] = lease
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._beat, name="klaviyo-relay-leases", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        return lease

    def release(self, lease: Lease) -> None:
        """Give it back at once, or as soon as Redis is there again.

        At the latest it ends by itself. A restarted Redis still has the lease: without this the
        lane would wait for its end.
        """
        with self._changed:
            self._held.pop(lease.token, None)
            self._changed.notify()
        if not self._give_back(lease):
            with self._changed:
                self._owed.append((time.monotonic() + LEASE_SECONDS, lease))
                self._changed.notify()

    def close(self) -> None:
        """End the heartbeat, after the last lease that is held was given back.

        It waits as long as a lease lasts and no longer, whatever Redis does: by then, what could
        not be given back has ended by itself. A lease that is held even then is kept, and the
        heartbeat ends with it.
        """
        with self._changed:
            self._is_closed = True
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(LEASE_SECONDS)

    def _give_back(self, lease: Lease) -> bool:
        try:
            self._release(keys=[lease.key], args=[lease.token])
        except RedisError:
            return False
        return True

    def _beat(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._owed or self._is_closed)
                held = list(self._held.values())
                owed, self._owed = self._owed, []
                is_last = self._is_closed and not held
                if is_last:
                    self._thread = None  # whoever takes a lease from now on needs another one
            for lease in held:
                self._renew_one(lease)
            self._give_back_owed(owed)
            if not is_last:
                self._rest()

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed and not self._held, RENEW_SECONDS)

    def _give_back_owed(self, owed: list[tuple[float, Lease]]) -> None:
        for until, lease in owed:
            if time.monotonic() < until and not self._give_back(lease):
                with self._changed:
                    self._owed.append((until, lease))

    def _renew_one(self, lease: Lease) -> None:
        self._seen_at = asked_at = time.monotonic()
        try:
            renewed = self._renew(keys=[lease.key], args=[lease.token, int(LEASE_SECONDS * 1000)])
        except RedisError as error:
            logger.warning("a lease could not be renewed: %s", error)
            return
        if renewed:
            lease.extend(asked_at)
        else:
            lease.lose()
