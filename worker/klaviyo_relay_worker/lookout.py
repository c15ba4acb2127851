"""The lookout: what a lane wants, and whether anything moves in it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys, LaneKeys, split
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.breaker import Breakers, family_of
from klaviyo_relay_worker.waits import snooze_left

# Answers of PTTL (Redis documentation): there is no such key; it never ends.
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


class _Reading(Struct, frozen=True):
    """What Redis tells of a lane, in the order of the pipeline.

    Attributes:
        backlog: commands in the stream.
        first: the oldest of them, with its key.
        due: what is parked or followed and is due first, with its time in milliseconds.
        state: until, paused, looked, since: members of the lane's state, or None.
        counts: members of the lane's counts.
        lease: milliseconds that it lasts, or one of Redis's two answers below 0.
    """

    backlog: int
    first: list[Any]
    due: list[Any]
    state: list[Any]
    counts: dict[bytes, bytes]
    lease: int

    @property
    def work_at(self) -> list[float]:
        """When there is something to do, were it not for lease, snooze and breakers."""
        if self.state[1] or self.lease == _NO_END:
            return []
        times = [when / 1000 for _, when in self.due]
        return [0.0, *times] if self.backlog else times

    @property
    def until(self) -> float:
        """Until when the lane is snoozed, in seconds since 1970."""
        return float(self.state[0] or 0)

    @property
    def since(self) -> float:
        """When it was told so, likewise."""
        return float(self.state[3] or 0)

    @property
    def lease_seconds(self) -> float:
        """How long a planner holds the lane still; 0 if there is none."""
        return 0.0 if self.lease == _NO_KEY else self.lease / 1000

    @property
    def progress(self) -> tuple[Any, ...]:
        """See `View`."""
        until, _, looked, _ = self.state
        head = self.first[0][0] if self.first else b""
        return (head, tuple(self.due), until, looked, tuple(sorted(self.counts.items())))


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
        found = self._read(self._keys.lane(account, lane))
        breakers = self._breakers.look(account, family_of(lane))
        now = breakers[0].now
        waits = max(found.lease_seconds, *(one.wait_seconds for one in breakers))
        waits = max(waits, snooze_left(found.since, found.until, now))
        not_before = now + waits if waits else 0.0
        return View(
            wants_at=[max(when, not_before) for when in found.work_at],
            has_planner=found.lease != _NO_KEY,
            progress=found.progress,
            now=now,
        )

    def _read(self, keys: LaneKeys) -> _Reading:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(keys.stream)
        pipeline.xrange(keys.stream, count=1)
        pipeline.zrange(keys.due, 0, 0, withscores=True)
        pipeline.hmget(keys.state, "until", "paused", "looked", "since")
        pipeline.hgetall(keys.counts)
        pipeline.pttl(keys.lease)
        return _Reading(*pipeline.execute())
