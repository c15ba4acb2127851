"""The lookout: what a lane wants, and whether anything moves in it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys, split
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.breaker import Breakers, family_of

_NO_KEY, _NO_END = -2, -1


class View(Struct, frozen=True):
    """A lane at one moment, in seconds since 1970 by Redis's clock.

    Attributes:
        now: the moment.
        wants_at: when it wants a planner; empty if it has nothing to do.
            While it has a planner: not before the lease ends, as it does when its holder is dead.
        has_planner: somebody holds the lease.
        progress: differs between two looks if anything was done in between.
    """

    now: float
    wants_at: list[float]
    has_planner: bool
    progress: tuple[Any, ...]

    @property
    def wants_now(self) -> bool:
        """Whether a planner should be at it, and is not."""
        return any(when <= self.now for when in self.wants_at)

    @property
    def wants_in(self) -> float | None:
        """In how many seconds it will want a planner next; None if nothing is known."""
        return min((when - self.now for when in self.wants_at if when > self.now), default=None)


class Lookout:
    """Looks at the lanes of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._breakers = Breakers(redis, keys)
        self._known: set[str] = set()
        self._add: Any = redis.register_script(script_of("klaviyo_relay", "register"))

    def names(self) -> list[str]:
        """All lanes that ever had a command."""
        stored: Any = self._redis.smembers(self._keys.register)
        names = {name.decode() for name in stored}
        if not self._known <= names:
            # In a cluster the register's node may fall back while the lane's own does not.
            self._add(keys=[self._keys.register], args=sorted(self._known - names))
        self._known |= names
        return sorted(self._known)

    def note(self, name: str) -> None:
        """A lane has been heard of."""
        self._known.add(name)

    def look(self, name: str) -> View:
        """Look at one lane."""
        account, lane = split(name)
        keys = self._keys.lane(account, lane)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(keys.stream)
        pipeline.xrange(keys.stream, count=1)
        pipeline.zrange(keys.due, 0, 0, withscores=True)
        pipeline.hmget(keys.state, "until", "paused", "looked")
        pipeline.hgetall(keys.counts)
        pipeline.pttl(keys.lease)
        backlog, first, due, (until, paused, looked), counts, lease = pipeline.execute()
        breakers = self._breakers.look(account, family_of(lane))
        has_planner = lease != _NO_KEY
        times = [0.0] if backlog else []
        times += [due[0][1] / 1000] if due else []
        if paused or lease == _NO_END:
            times = []
        wait = max(lease / 1000 if has_planner else 0.0, *(one.wait_seconds for one in breakers))
        now = breakers[0].now
        from_then_on = max(float(until or 0), now + wait if wait else 0.0)
        head = first[0][0] if first else b""
        return View(
            wants_at=[max(when, from_then_on) for when in times],
            has_planner=has_planner,
            progress=(head, tuple(due), until, looked, tuple(sorted(counts.items()))),
            now=now,
        )
