"""The entrance of the lanes: the only way in which commands get into Redis.

Used by the shipper, by `enqueue_many` and by the worker's Celery door.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from klaviyo_relay.errors import BackpressureError, MarkFellBackError
from klaviyo_relay.keys import Keys, split
from klaviyo_relay.marks import Marks
from klaviyo_relay.redis_clients import node_of, nodes_of
from klaviyo_relay.replication import Replication
from klaviyo_relay.scripts import script_of

if TYPE_CHECKING:
    from redis import Redis

# Producers leave the last fifth of Redis's memory to the workers, who need some to empty a lane.
WATERMARK = 0.8
# What is sent in one call. It must be through within the time that an answer may take (sendall's
# time-out is for all of it), also where the link carries 2 Mbit/s: else it would never be.
BATCH_COMMANDS = 500
BATCH_BYTES = 1_000_000
# A replica that is away for longer may not come back, and the sender's disk is not endless.
UNREPLICATED_SECONDS_MOST = 3_600.0
_SURVEY_SECONDS = 1.0
_FULL, _FELL_BACK = -1, -2


def batches(numbered: Sequence[tuple[int, bytes]]) -> Iterator[Sequence[tuple[int, bytes]]]:
    """(number, message) pairs, as many together as one call should take; a large one alone."""
    first = size = 0
    for at, (_, message) in enumerate(numbered):
        size += len(message)
        if at > first and (at - first == BATCH_COMMANDS or size > BATCH_BYTES):
            yield numbered[first:at]
            first, size = at, len(message)
    if numbered:
        yield numbered[first:]


class Shipped(NamedTuple):
    """What the shipping script did: commands added, and the lane's mark for this source."""

    added: int
    mark: int


class Survey(NamedTuple):
    """What a producer must know of Redis before it ships.

    Attributes:
        incarnation: run id and replication id, of each primary; another one means that Redis may
            have lost data.
        is_full: memory in use is above the watermark, in all primaries.
    """

    incarnation: str
    is_full: bool


class LaneEntrance(Marks):
    """Ships into the lanes of one Redis."""

    def __init__(self, redis: Redis, keys: Keys, lane_max_bytes: int) -> None:
        super().__init__(redis, keys)
        self._lane_max_bytes = lane_max_bytes
        self._ship: Any = redis.register_script(script_of("klaviyo_relay", "ship"))
        self._add: Any = redis.register_script(script_of("klaviyo_relay", "register"))
        self._registered: set[str] = set()
        self._survey: Survey | None = None
        # Nodes above the watermark. Lanes of a cluster's other nodes go on.
        self._full: set[Redis] = set()
        self._surveyed_at = 0.0
        self._replication = Replication()

    def replicated_until(self) -> float:
        """What was confirmed by then, in monotonic seconds, need not be kept for a failover.

        By the last survey: a replica has it, or there is none, or none has answered for an hour.
        """
        return max(self._replication.until, time.monotonic() - UNREPLICATED_SECONDS_MOST)

    def survey(self) -> Survey:
        """State of Redis, at most a second old.

        Raises:
            redis.RedisError: Redis does not answer, or is still loading.
        """
        now = time.monotonic()
        if self._survey is None or now - self._surveyed_at > _SURVEY_SECONDS:
            nodes = nodes_of(self._redis)
            infos: list[Any] = [node.info("server", "memory", "replication") for node in nodes]
            incarnation = " ".join(f"{one['run_id']}/{one['master_replid']}" for one in infos)
            self._replication.note(now, incarnation, infos)
            if self._survey and self._survey.incarnation != incarnation:
                self._registered.clear()
            self._full = {node for node, one in zip(nodes, infos, strict=True) if _is_full(one)}
            self._survey = Survey(incarnation, is_full=len(self._full) == len(nodes))
            self._surveyed_at = now
        return self._survey

    def ship(
        self, lane: str, source: str, numbered: Sequence[tuple[int, bytes]], left_at: int = 0
    ) -> Shipped:
        """Put (number, message) pairs into a lane, unless its mark for `source` says it has them.

        Args:
            lane: the lane's name, `account:lane`.
            source: whose numbers these are.
            numbered: in rising order; no more of them than `batches` puts together.
            left_at: the mark that the last call for this lane and source left behind.

        Raises:
            BackpressureError: the lane holds as many bytes as it may, or its node is filled up to
                the watermark; nothing was added.
            MarkFellBackError: Redis has lost what it had of this source; nothing was added.
            redis.RedisError: Redis refused, or did not answer; then it may have taken them.
        """
        keys = self._keys.lane(*split(lane))
        if self._full and node_of(self._redis, keys.stream) in self._full:
            raise BackpressureError(f"the node of the lane {lane} is filled up to the watermark")
        self.register(lane)
        index = "".join([f"{number}:{len(message)}," for number, message in numbered])
        messages = b"".join([message for _, message in numbered])
        added, mark = self._ship(
            keys=[keys.stream, keys.marks, keys.counts],
            args=[
                source,
                self._keys.doorbell,
                lane,
                self._lane_max_bytes,
                left_at,
                index,
                messages,
            ],
        )
        if added == _FULL:
            raise BackpressureError(f"the lane {lane} holds as many bytes as it may")
        if added == _FELL_BACK:
            self._registered.clear()
            raise MarkFellBackError(mark)
        return Shipped(added, mark)

    def register(self, lane: str) -> None:
        """Make the lane known to sweeps and to `status`."""
        if lane not in self._registered:
            self._add(keys=[self._keys.register], args=[lane])
            self._registered.add(lane)

    def bury(self, lane: str, bury_script: str, identity: str, letter: bytes) -> None:
        """Accept a command as the dead letter that it is."""
        keys = self._keys.lane(*split(lane))
        self.register(lane)
        self._redis.register_script(bury_script)(
            keys=[keys.counts, keys.dead], args=[identity, letter]
        )

    def now(self) -> float:
        """Seconds since 1970, by Redis's clock."""
        seconds, microseconds = self._redis.time()
        return seconds + microseconds / 1e6

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


def _is_full(info: dict[str, Any]) -> bool:
    most = int(info.get("maxmemory", 0))
    return bool(most) and int(info["used_memory"]) > WATERMARK * most
