"""How one spool file is shipped: how far each of its lanes came, what waits, what may be deleted.

It owns nothing: if the thread, the process or Redis dies at any instruction, the rows are in the
file, and whoever ships them next begins at the mark that the lane keeps. The rows shipped in the
last seconds stay in the file, so that a Redis that comes back older than it was (a failover, a
lost second of its log) gets again what it has lost.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from klaviyo_relay.complaints import saying
from klaviyo_relay.errors import BackpressureError, MarkFellBackError
from klaviyo_relay.lane_entrance import BATCH_BYTES, BATCH_COMMANDS, LaneEntrance
from klaviyo_relay.salvage import check_rows
from klaviyo_relay.spool import Row, SpoolFile

logger = logging.getLogger("klaviyo_relay.shipper")

# After so many rows there are more, most likely.
MANY_ROWS = 400
# Shipped rows are deleted a few at a time, because appends wait meanwhile.
DELETE_ROWS = 200
# How long shipped rows stay, for a Redis that falls back to an older state.
RESHIP_SECONDS = 10.0


class _Lane:
    """How far one lane of a file came.

    Attributes:
        mark: the last row that Redis has confirmed.
        refusal: why it takes no more; its rows wait in the file while other lanes go on.
        shipped: when each batch was confirmed (monotonic seconds), and its last row.
        due: the last row that has been in Redis for the re-ship window.
        deleted: the last row that was looked at for deletion.
    """

    def __init__(self, mark: int = 0) -> None:
        self.mark = mark
        self.refusal: BackpressureError | None = None
        self.shipped: deque[tuple[float, int]] = deque()
        self.due = self.deleted = 0


class FileShipment:
    """Ships one spool file, and remembers how far it came."""

    def __init__(self, spool: SpoolFile) -> None:
        self.spool = spool
        # Rows up to here have been looked at; those of a held lane still wait for it.
        self.position = 0
        self._lanes: dict[str, _Lane] = {}

    @property
    def left(self) -> int:
        """Rows that Redis has not confirmed; as many as there may be, if the file is damaged."""
        position = self.position
        held = [(name, lane.mark) for name, lane in self._lanes.copy().items() if lane.refusal]
        waiting = sum(self._count(name, mark, position) for name, mark in held)
        return max(0, self.spool.last_row - position) + waiting

    def _count(self, name: str, mark: int, position: int) -> int:
        try:
            return self.spool.count(name, mark, position)
        except sqlite3.Error:
            return position - mark

    @property
    def refusal(self) -> BackpressureError | None:
        """Why a lane takes no more at present, if there is such a lane."""
        return next((lane.refusal for lane in self._lanes.values() if lane.refusal), None)

    def ship_some(self, entrance: LaneEntrance) -> int:
        """Ship the next batch; returns how many rows, 0 when no lane takes any more."""
        try:
            return self._ship_held(entrance) + self._ship_next(entrance)
        except MarkFellBackError as error:
            self.restart(entrance)
            with saying():
                logger.warning("%s; shipping what the spool still has", error)
            return MANY_ROWS

    def restart(self, entrance: LaneEntrance) -> None:
        """Begin again where this Redis says that it is; it may have lost what it had."""
        source = self.spool.source
        names = self.spool.lanes()
        self._lanes = {name: _Lane(entrance.mark(name, source)) for name in names}
        marks = [lane.mark for lane in self._lanes.values()]
        for lane in self._lanes.values():
            # Whatever was known of their age was of a Redis before.
            lane.shipped.append((time.monotonic(), lane.mark))
        self.position = min(marks, default=self.position)

    def tidy(self, replicated_until: float = math.inf) -> bool:
        """Delete a few of the rows that have been in Redis for the re-ship window.

        Args:
            replicated_until: what was confirmed later stays, in monotonic seconds.

        Returns:
            Whether more of them are due.
        """
        confirmed_by = min(replicated_until, time.monotonic() - RESHIP_SECONDS)
        for lane in self._lanes.values():
            while lane.shipped and lane.shipped[0][0] < confirmed_by:
                lane.due = lane.shipped.popleft()[1]
        # All lanes, and not only up to the first that has more.
        is_more_due = [self._tidy_lane(name, lane) for name, lane in self._lanes.items()]
        return any(is_more_due)

    def _tidy_lane(self, name: str, lane: _Lane) -> bool:
        if lane.deleted >= lane.due:
            return False
        first = self.spool.first(name, lane.deleted, lane.due)
        if first is None:
            lane.deleted = lane.due
            return False
        upto = min(lane.due, first + DELETE_ROWS - 1)
        self.spool.delete(name, first - 1, upto)
        lane.deleted = upto
        return upto < lane.due

    def is_spent(self) -> bool:
        """Whether nobody needs the file any more, as of the last `tidy`."""
        return self.spool.last_row <= self.position and not any(
            lane.shipped or lane.refusal for lane in self._lanes.values()
        )

    def _ship_next(self, entrance: LaneEntrance) -> int:
        rows = self.spool.read(self.position, BATCH_COMMANDS, BATCH_BYTES)
        check_rows(rows, self.position)
        for name, group in by_lane(rows):
            lane = self._lanes.setdefault(name, _Lane())
            if not lane.refusal:
                self._ship(entrance, name, lane, group)
        if rows:
            self.position = rows[-1][0]
        return len(rows)

    def _ship_held(self, entrance: LaneEntrance) -> int:
        shipped = 0
        for name, lane in self._lanes.items():
            if lane.refusal:
                group = self.spool.read_lane(
                    name, lane.mark, self.position, BATCH_COMMANDS, BATCH_BYTES
                )
                # Not free before its last row has gone, whatever happens on the way.
                if not group:
                    lane.refusal = None
                elif self._ship(entrance, name, lane, group):
                    shipped += len(group)
        return shipped

    def _ship(self, entrance: LaneEntrance, name: str, lane: _Lane, group: list[Row]) -> bool:
        numbered = [(number, message) for number, _, message in group]
        try:
            shipped = entrance.ship(name, self.spool.source, numbered, lane.mark)
        except BackpressureError as error:
            lane.refusal = error
            return False
        lane.mark = shipped.mark
        lane.shipped.append((time.monotonic(), group[-1][0]))
        return True


def by_lane(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Each lane with its rows, in their order."""
    of_lane = itemgetter(1)
    for lane, group in groupby(sorted(rows, key=of_lane), key=of_lane):
        yield lane, list(group)
