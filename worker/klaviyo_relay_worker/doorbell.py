"""The doorbell: notices at once that a lane has work, and asks Celery to deliver it.

The shipping script rings through Redis's pub/sub. That may be missed (a worker that was starting,
a connection that broke), and a Celery message may be lost, so a sweep every second at most looks
at all lanes and rings for those with work and without a planner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.keys import Keys, split
from klaviyo_relay_worker.housekeeping import HOUR_SECONDS, prune_joins, prune_marks

logger = logging.getLogger("klaviyo_relay_worker.doorbell")

SWEEP_SECONDS = 1.0
# A ring that nobody answered within this time is taken for lost.
RUNG_SECONDS = 2.0

# A full Redis refuses a plain SET.
_MARK_RUNG = """#!lua flags=allow-oom
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1])
"""

Ring = Callable[[str, str], None]


class Doorbell:
    """A thread in each worker process.

    Args:
        redis: a client of its own; the thread blocks on it.
        keys: key names.
        ring: asks for a delivery of (account, lane).
    """

    def __init__(self, redis: Redis, keys: Keys, ring: Ring) -> None:
        self._redis = redis
        self._keys = keys
        self._ring = ring
        self._prune_at = 0.0
        self._mark_rung: Any = redis.register_script(_MARK_RUNG)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="klaviyo-relay-doorbell", daemon=True
        )

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(SWEEP_SECONDS * 3)

    def ring(self, name: str) -> None:
        """Ask for a delivery of a lane, unless somebody has just done so."""
        if self._mark_rung(keys=[self._keys.rung(name)], args=[int(RUNG_SECONDS * 1000)]):
            self._ring(*split(name))

    def answered(self, name: str) -> None:
        """A delivery begins: what comes in from now on may ring again."""
        self._redis.delete(self._keys.rung(name))

    def sweep(self) -> float:
        """Ring for every lane with work and nobody at it; returns seconds until the next look."""
        now = time.time()
        soonest = now + SWEEP_SECONDS
        names = self._names()
        if now >= self._prune_at:
            self._prune_at = now + HOUR_SECONDS
            prune_marks(self._redis, self._keys, names)
            prune_joins(self._redis, self._keys, names)
        for name in names:
            times = self._wants_delivery_at(name)
            if any(when <= now for when in times):
                self.ring(name)
            soonest = min([soonest, *(when for when in times if when > now)])
        return max(0.02, soonest - time.time())

    def _names(self) -> list[str]:
        names: Any = self._redis.smembers(self._keys.register)
        return sorted(name.decode() for name in names)

    def _wants_delivery_at(self, name: str) -> list[float]:
        """When the lane wants a planner (seconds since 1970); never while it has one."""
        keys = self._keys.lane(*split(name))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(keys.stream)
        pipeline.zrange(keys.due, 0, 0, withscores=True)
        pipeline.hmget(keys.state, "until", "paused")
        pipeline.exists(keys.lease)
        backlog, due, (until, paused), has_planner = pipeline.execute()
        if has_planner or paused:
            return []
        times = [0.0] if backlog else []
        times += [due[0][1] / 1000] if due else []
        return [max(when, float(until or 0)) for when in times]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except RedisError as error:
                logger.warning(
                    "the doorbell cannot reach Redis, again in %.1f s: %s", SWEEP_SECONDS, error
                )
                self._stop.wait(SWEEP_SECONDS)
            except Exception:
                # Celery's broker may be away, or full. The sweep rings again.
                logger.exception("the doorbell could not ring")
                self._stop.wait(SWEEP_SECONDS)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self._keys.doorbell)
            wait = self.sweep()
            until = time.monotonic() + wait
            while not self._stop.is_set():
                left = until - time.monotonic()
                message = subscription.get_message(timeout=max(left, 0.001))
                if message is not None:
                    self.ring(message["data"].decode())
                if time.monotonic() >= until:
                    until = time.monotonic() + self.sweep()
