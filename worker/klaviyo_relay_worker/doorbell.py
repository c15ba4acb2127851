"""The doorbell: notices at once that a lane has work, and asks Celery to deliver it.

The shipping script rings through Redis's pub/sub. That may be missed (a worker that was starting,
a connection that broke), and a Celery message may be lost, so a sweep every second at most looks
at all lanes and rings for those with work and without a planner.

What Celery does not carry is delivered by this process itself (see standby): at once when its
broker refuses the wake-up call, and after a while when nobody answers it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.complaints import Complaints
from klaviyo_relay.keys import Keys, split
from klaviyo_relay_worker.housekeeping import HOUR_SECONDS, prune_joins, prune_marks
from klaviyo_relay_worker.lookout import Lookout, View
from klaviyo_relay_worker.planner import Planner
from klaviyo_relay_worker.standby import Standby

logger = logging.getLogger("klaviyo_relay_worker.doorbell")

SWEEP_SECONDS = 1.0
# A ring that nobody answered within this time is taken for lost.
RUNG_SECONDS = 2.0
# After a second one, this process delivers the lane itself.
UNANSWERED_SECONDS = 2 * RUNG_SECONDS
# Celery is not tried again before, as each try may cost seconds.
REST_SECONDS = 30.0
# What is in flight at Klaviyo may take as long as a request's deadline; then there is no hope.
DRAIN_SECONDS = 15.0

# A full Redis refuses a plain SET.
_MARK_RUNG = """#!lua flags=allow-oom
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1])
"""
_EVERY_LANE = ""

Ring = Callable[[str, str], None]


class Doorbell:
    """A thread in each worker process.

    Args:
        redis: a client of its own; the thread blocks on it.
        keys: key names.
        ring: asks for a delivery of (account, lane).
        planner: gives this process's planner, for what Celery does not carry; without it Celery is
            asked again and again.

    Attributes:
        seen_at: when the thread was last seen at work, in monotonic seconds.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        ring: Ring,
        planner: Callable[[], Planner] | None = None,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._ring = ring
        self._lookout = Lookout(redis, keys)
        self._standby = Standby(planner, self.answered, self.ring) if planner else None
        # Lanes that have wanted a planner, in vain, with what they looked like and since when.
        self._unanswered: dict[str, tuple[Any, float]] = {}
        # Until when Celery is not asked, by lane.
        self._rests: dict[str, float] = {}
        self._complaints = Complaints()
        self._prune_at = 0.0
        self._mark_rung: Any = redis.register_script(_MARK_RUNG)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="klaviyo-relay-doorbell", daemon=True
        )
        self.seen_at = time.monotonic()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and what this process delivers by itself."""
        self._stop.set()
        if self._standby is not None:
            self._standby.end(DRAIN_SECONDS)
        self._thread.join(SWEEP_SECONDS * 3)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs, or has been told to end."""
        return self._thread.is_alive() or self._stop.is_set()

    def ring(self, name: str) -> None:
        """Ask for a delivery of a lane, unless somebody has just done so."""
        if not self._mark_rung(keys=[self._keys.rung(name)], args=[int(RUNG_SECONDS * 1000)]):
            return
        if self._celery_rests(name) and self._deliver_here(name):
            return
        try:
            self._ring(*split(name))
        except (KombuError, OSError, RedisError) as error:
            self._complain(f"Celery's broker does not take wake-up calls ({error})")
            self._rests[_EVERY_LANE] = time.monotonic() + REST_SECONDS
            self._deliver_here(name)

    def answered(self, name: str) -> None:
        """A delivery begins: what comes in from now on may ring again."""
        self._redis.delete(self._keys.rung(name))

    def sweep(self) -> float:
        """Ring for every lane with work and nobody at it; returns seconds until the next look."""
        now = time.monotonic()
        wait = SWEEP_SECONDS
        names = self._lookout.names()
        if now >= self._prune_at:
            self._prune_at = now + HOUR_SECONDS
            prune_marks(self._redis, self._keys, names)
            prune_joins(self._redis, self._keys, names)
        for name in names:
            view = self._lookout.look(name)
            if view.wants_now:
                self._call_for(name, view)
            else:
                self._unanswered.pop(name, None)
            if view.wants_in is not None:
                wait = min(wait, view.wants_in)
        return max(0.02, wait)

    def _call_for(self, name: str, view: View) -> None:
        """Ring; or deliver here, if the lane has looked like this for long."""
        now = time.monotonic()
        progress, since = self._unanswered.get(name, (None, now))
        if progress != view.progress:
            self._unanswered[name] = (view.progress, now)
        elif now - since >= UNANSWERED_SECONDS and self._deliver_here(name):
            del self._unanswered[name]
            self._rests[name] = now + REST_SECONDS
            self._complain(f"nobody has answered Celery's wake-up calls for {name}")
            return
        self.ring(name)

    def _celery_rests(self, name: str) -> bool:
        until = max(self._rests.get(name, 0.0), self._rests.get(_EVERY_LANE, 0.0))
        return time.monotonic() < until

    def _deliver_here(self, name: str) -> bool:
        return self._standby is not None and self._standby.take(name)

    def _complain(self, what: str) -> None:
        """Loudly, but not more than once a minute."""
        if self._complaints.is_due():
            logger.error("%s; this process delivers by itself meanwhile", what)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.seen_at = time.monotonic()
            try:
                self._listen()
            except RedisError as error:
                logger.warning(
                    "the doorbell cannot reach Redis, again in %.1f s: %s", SWEEP_SECONDS, error
                )
                self._stop.wait(SWEEP_SECONDS)
            except Exception:
                # Nobody foresaw it. The sweep rings again.
                logger.exception("the doorbell could not ring")
                self._stop.wait(SWEEP_SECONDS)

    def _heard(self, name: str) -> None:
        """New work. A planner that is at the lane looks for news itself, once it gives it up."""
        self._lookout.note(name)
        if not self._redis.exists(self._keys.lane(*split(name)).lease):
            self.ring(name)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self._keys.doorbell)
            wait = self.sweep()
            until = time.monotonic() + wait
            while not self._stop.is_set():
                self.seen_at = time.monotonic()
                left = until - self.seen_at
                message = subscription.get_message(timeout=max(left, 0.001))
                if message is not None:
                    self._heard(message["data"].decode())
                if time.monotonic() >= until:
                    until = time.monotonic() + self.sweep()
