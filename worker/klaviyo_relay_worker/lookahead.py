"""The lookahead: unsubscribes that stand behind more of a backlog than the intake takes in."""

from __future__ import annotations

from klaviyo_relay.commands import Unsubscribe
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.plan.batch import Entry

READ_AT_ONCE = 500
# In one go; so the lane's planner is not long away from what is in flight.
READ_MOST = 10_000
TAKEN_MOST = 1_000


class Lookahead:
    """Reads on in the consent lane behind the intake, for unsubscribes alone.

    They may overtake what was not read yet: subscribes that are older are superseded by them, and
    nothing else in the lane depends on which of the two comes first.

    Attributes:
        taken: keys of those that the intake will meet again when it comes to their place.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._is_used = lane.lane == "consent"
        self._cursor = "0-0"
        self.taken: set[str] = set()

    def read(self, after: str) -> list[Entry]:
        """The next unsubscribes behind `after`, up to where they are too many to be kept."""
        found: list[Entry] = []
        if not self._is_used:
            return found
        if _place(after) > _place(self._cursor):
            self._cursor = after
        left = READ_MOST
        while left > 0 and len(self.taken) < TAKEN_MOST:
            # What cannot be read is buried when the intake comes to it.
            entries, _, cursor = self._lane.read(self._cursor, READ_AT_ONCE)
            if cursor == self._cursor:
                break
            fresh = [entry for entry in entries if isinstance(entry.command, Unsubscribe)]
            self.taken.update(entry.key for entry in fresh)
            found += fresh
            self._cursor, left = cursor, left - READ_AT_ONCE
        return found

    def without_taken(self, entries: list[Entry]) -> list[Entry]:
        """What the intake has read, without what it has already from here."""
        if not self.taken:
            return entries
        fresh = [entry for entry in entries if entry.key not in self.taken]
        self.taken.difference_update(entry.key for entry in entries)
        return fresh


def _place(key: str) -> tuple[int, int]:
    milliseconds, _, number = key.partition("-")
    return int(milliseconds), int(number)
