"""Suspicion: whether Klaviyo is down, or it is one command that Klaviyo fails with.

Both show as a server error. Several turns of a lane in a row that end so arouse suspicion, and
the next turn is a line-up (`plan/lineup`). A command that it singles out is parked: it goes by
itself from then on, so that it harms no other, and is given up after some days. The count is kept
with the lane, since turns are taken by different workers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.lane import Lane, LaneState
from klaviyo_relay_worker.outcome import Dead, Failure, Outcome, Parked, Parking, Snooze
from klaviyo_relay_worker.plan.batch import Entry
from klaviyo_relay_worker.plan.lineup import Lineup
from klaviyo_relay_worker.retry import backoff_of_parked

# After so many turns in a row that ended with a server error, one of the commands may be the cause.
TURNS_SUSPICIOUS = 2
# 503 is Klaviyo's own word for "unavailable" (developers.klaviyo.com, rate limits and errors); the
# others may be what a single command brings about, there or at the edge before it.
MAY_BE_POISON = frozenset((500, 502, 504, 520, 524))
SERVER_ERROR = "server_error"


class Suspicion:
    """What one turn at a lane knows of server errors.

    Args:
        state: the lane's at the beginning of the turn.
        clock: Redis's time.
        parked_seconds: for so long a parked command is tried again.
        paused_seconds: that the lane has been paused in all; they do not count.
        is_up: other lanes got proper answers from Klaviyo since this one began to fail.

    Attributes:
        outage: why the lane must wait after a line-up that found Klaviyo down, or None.
    """

    def __init__(
        self,
        lane: Lane,
        state: LaneState,
        clock: Clock,
        parked_seconds: float,
        *,
        paused_seconds: float,
        is_up: bool,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._turns = state.server_errors
        self._failing = state.failing
        self._parked_seconds = parked_seconds
        self._paused_seconds = paused_seconds
        self._has_answer = False
        self._last: Snooze | None = None
        self._lineup: Lineup | None = None
        if self._turns >= TURNS_SUSPICIOUS:
            chance = random.Random()  # noqa: S311 - picks witnesses
            self._lineup = Lineup(self._failing, is_up=is_up, chance=chance)

    @property
    def is_searching(self) -> bool:
        """Whether this turn is a line-up: one batch at a time, chosen from what `offer` gives."""
        found = self._lineup
        return found is not None and not found.is_over and not found.is_outage

    @property
    def outage(self) -> Snooze | None:
        """Why the lane must wait after a line-up that found Klaviyo down."""
        return self._last if self._lineup is not None and self._lineup.is_outage else None

    def offer(self, candidates: Sequence[Entry]) -> Sequence[Entry]:
        """From what the next batch of the line-up may be chosen; none at its end.

        Args:
            candidates: what may be sent now, in order, one of each profile.
        """
        return self._lineup.offer(candidates) if self._lineup is not None else ()

    def culprits(self) -> list[tuple[Entry, Outcome]]:
        """Commands that were singled out and what becomes of them; each is given once."""
        found = self._lineup.take_culprits() if self._lineup is not None else []
        return [(entry, self._verdict(entry, self._status)) for entry in found]

    def judge(self, returned: Returned) -> Returned:
        """What is to be settled and noted of a batch that is back.

        A command that failed by itself has its verdict here; within a line-up a server error is
        evidence, not a reason to wait.
        """
        entries, snooze = returned.batch.entries, returned.snooze
        if not returned.batch.endpoint or not entries:
            return returned
        if snooze is None:
            self._has_answer = True
            if self._lineup is not None:
                self._lineup.passed(entries)
            return returned
        if snooze.status not in MAY_BE_POISON:
            return returned
        self._last, self._failing = snooze, len(entries)
        return Returned(returned.batch, returned.ledger, None if self._blames(returned) else snooze)

    def _blames(self, returned: Returned) -> bool:
        """Whether a server error may be the fault of these commands, and the lane goes on."""
        entries = returned.batch.entries
        if len(entries) == 1 and entries[0].is_alone:
            returned.ledger.settle(entries, self._verdict(entries[0], self._status))
            return True
        if self._lineup is None or not self.is_searching:
            return False
        self._lineup.failed(entries)
        return not self._lineup.is_outage

    def end(self, snooze: Snooze | None) -> None:
        """Keep for the next turn what this one, which ends with `snooze`, has shown."""
        if snooze is not None and snooze.status in MAY_BE_POISON:
            self._lane.note_server_error(self._turns + 1, self._failing, self._clock.now())
        elif self._turns and self._has_answer:
            self._lane.forget_server_errors()

    @property
    def _status(self) -> int:
        return self._last.status if self._last is not None else 500

    def _verdict(self, entry: Entry, status: int) -> Outcome:
        """Tried again by itself later, or given up if that has gone on for long."""
        now = self._clock.now()
        failure = Failure(
            status=status,
            code=SERVER_ERROR,
            title="Klaviyo fails with this command",
            detail=f"Klaviyo answers {status} to it each time, and takes others meanwhile",
        )
        paused_before = entry.paused_before if entry.parked_at else self._paused_seconds
        age = now - (entry.parked_at or now) - (self._paused_seconds - paused_before)
        if age > self._parked_seconds:
            return Dead(failure)
        wait = backoff_of_parked(entry.attempts + 1, random.random())  # noqa: S311 - spreads load
        until = now + wait
        return Parked(
            until, Parking.SERVER_ERROR, failure, is_alone=True, paused_before=paused_before
        )
