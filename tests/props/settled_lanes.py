"""A lane settled by hand: commands get their outcomes as a planner gives them, without a worker."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Self

from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.lane import NO_FACTS, Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Outcome
from klaviyo_relay_worker.plan.batch import Entry, Facts


class SettledLane:
    """A lane whose lease the test holds until `release`, or the end of `with`.

    Attributes:
        lane: the lane.
        lease: its lease. It does not run out, and nobody renews it.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys | None = None,
        lane: str = "events",
        account: str = "default",
        **more: Any,
    ) -> None:
        self._redis = redis
        self.lane = Lane(redis, keys or Keys(), account, lane, **more)
        self.lease = Lease(self.lane.keys.lease)
        redis.set(self.lease.key, self.lease.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def read(self, number: int = 10_000) -> list[Entry]:
        """What stands in the stream."""
        return self.lane.read("0-0", number)[0]

    def parked(self) -> list[Entry]:
        """What is parked, whether its time has come or not."""
        return self.lane.due(4e9).parked

    def settle(
        self,
        outcome: Outcome,
        entries: Iterable[Entry] | None = None,
        *,
        at: float | None = None,
        facts: Facts = NO_FACTS,
    ) -> list[str]:
        """Give commands an outcome.

        Args:
            outcome: one for all of them.
            entries: the commands; without any, all that stand in the stream.
            at: seconds since 1970; without any, now.
            facts: for the journal.

        Returns:
            Their ids.
        """
        entries = self.read() if entries is None else list(entries)
        outcomes = {entry.key: outcome for entry in entries}
        now = time.time() if at is None else at
        self.lane.settle(self.lease, entries, outcomes, now, facts=facts)
        return [entry.envelope.id for entry in entries]

    def release(self) -> None:
        """Give the lease back: from now on a planner may take the lane."""
        self._redis.delete(self.lease.key)
