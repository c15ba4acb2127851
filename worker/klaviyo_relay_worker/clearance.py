"""The clearance: whether a batch may go now, or how long the planner waits for its quota."""

from __future__ import annotations

import time

from klaviyo_relay_worker.flights import Flights
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Reason, Snooze
from klaviyo_relay_worker.plan.batch import Batch
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.turn import Turn

# For less than this the planner waits in its place; for more the lane snoozes.
IDLE_PATIENCE_SECONDS = 2.0
# How soon a full share of the sender threads is looked at again.
SENDERS_SECONDS = 0.1


class Clearance:
    """Clears the batches of one turn."""

    def __init__(self, lane: Lane, turn: Turn, flights: Flights, quota: Quota) -> None:
        self._account = lane.account
        self._is_bulk_lane = lane.is_bulk
        self._turn = turn
        self._flights = flights
        self._quota = quota
        self._wait = 0.0
        self._quota_at = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight."""
        return self._flights.count == 0

    @property
    def is_open(self) -> bool:
        """Whether any batch could go: no use in planning while none can."""
        return (
            self._turn.may_send(self._flights.count)
            and time.monotonic() >= self._quota_at
            and not self._flights.is_full
        )

    def begin(self) -> None:
        """Another plan begins."""
        self._wait = 0.0

    def clear(self, batch: Batch) -> bool:
        """Whether the batch goes now; the quota of its first request is reserved then."""
        return self.is_open and self._reserve(batch)

    def wait_in_place(self, *, has_waiting: bool) -> bool:
        """Wait for quota, or a sender, if it is worth it while nothing is in flight.

        Args:
            has_waiting: there are commands that could go.

        Returns:
            Whether to plan again; if not, the turn ends.
        """
        if has_waiting and self._flights.is_full:
            self._wait = max(self._wait, SENDERS_SECONDS)
        if self._turn.snooze is not None or self._wait == 0:
            return False
        if self._wait > IDLE_PATIENCE_SECONDS:
            self._turn.wait(Snooze(self._wait, Reason.QUOTA))
            return False
        time.sleep(self._wait)
        return True

    def _reserve(self, batch: Batch) -> bool:
        if not batch.endpoint:
            return True
        wait = self._quota.reserve(self._account, batch.endpoint, is_bulk_lane=self._is_bulk_lane)
        if wait:
            self._wait = max(self._wait, wait)
            # No use in planning again before: meanwhile the next batch grows.
            self._quota_at = time.monotonic() + min(wait, IDLE_PATIENCE_SECONDS)
        return wait == 0
