"""The stray watch: nothing is sent while an import job may be ours without our knowing.

See `plan/strays` for why. A line-up goes on meanwhile with commands that no such job can undo.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Failure, Reason, Snooze
from klaviyo_relay_worker.plan import imports, strays
from klaviyo_relay_worker.plan.batch import Entry
from klaviyo_relay_worker.turn import Turn

logger = logging.getLogger("klaviyo_relay_worker.stray_watch")

# How soon the jobs that may be ours are looked at again.
STRAY_SECONDS = 2.0
# The same where Klaviyo has refused the look.
REFUSED_SECONDS = 60.0


class StrayWatch:
    """The imports that were sent and of which nobody knows what became, in this turn or before.

    Args:
        notes: of those of earlier turns: name -> when, in seconds since 1970 (see
            `Lane.note_import`).

    Attributes:
        is_blind: one of them is of an earlier turn, so that nobody knows whom it may concern.
    """

    def __init__(
        self,
        lane: Lane,
        clock: Clock,
        notes: Mapping[str, float],
        *,
        turn: Turn,
        clearance: Clearance,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._notes = dict(notes)
        self.is_blind = bool(notes)
        self._carried: set[str] = set()
        self._identities: set[str] = set()
        self._turn = turn
        self._clearance = clearance

    @property
    def is_on(self) -> bool:
        """Whether such an import may still become, or be, an unfinished job."""
        return bool(self._notes)

    def add(self, notes: Mapping[str, float], entries: Iterable[Entry]) -> None:
        """One of this turn's, and what it carried; a turn may go on after it, as in a line-up."""
        if notes:
            self._notes.update(notes)
            for entry in entries:
                self._carried.add(entry.key)
                self._identities.update(entry.identities)

    def harmless(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those of the entries that may be sent again or besides, whatever such a job does later.

        It can only repeat what it carries, and undo what comes later for the same profiles.
        """
        return [
            entry
            for entry in entries
            if entry.key in self._carried or self._identities.isdisjoint(entry.identities)
        ]

    def errands(self) -> Iterator[Errand]:
        """A look at Klaviyo's unfinished jobs, once nothing of ours is in flight."""
        if not (self._clearance.is_idle and self._clearance.is_open):
            return
        now, since, last = self._clock.now(), min(self._notes.values()), max(self._notes.values())
        if now - since > imports.UNFINISHED_SECONDS:
            self._end()
            return
        appears_by = last + strays.APPEARS_SECONDS
        if now < appears_by:
            detail = "Klaviyo may yet make a job of an import that it did not answer"
            self._turn.wait(Snooze(appears_by - now, Reason.STRAY_JOB, detail=detail))
            return
        # Of other lanes, too: a job of theirs is not ours, and may go on for long.
        known = self._lane.jobs_of_account()
        batch = strays.look_for(strays.Moment(since, appears_by), known)
        if self._clearance.clear(batch):
            yield Errand(batch, self._settle)

    def _settle(self, returned: Returned) -> None:
        if returned.snooze is not None:
            return
        if returned.ledger.look_refused:
            self._wait_for_another_look(returned.ledger.look_refused)
        elif returned.ledger.strays:
            detail = f"{returned.ledger.strays} unfinished jobs at Klaviyo may be ours"
            self._turn.wait(Snooze(STRAY_SECONDS, Reason.STRAY_JOB, detail=detail))
        else:
            self._end()

    def _wait_for_another_look(self, why: Failure) -> None:
        """Nobody knows what Klaviyo has: the lane goes on when such a job must have ended."""
        detail = f"Klaviyo refuses the look at its import jobs: {why.status} {why.code}"
        logger.warning("%s waits for an import that was not answered: %s", self._lane.name, detail)
        self._turn.wait(Snooze(REFUSED_SECONDS, Reason.STRAY_JOB, detail=detail))

    def _end(self) -> None:
        self._lane.forget_imports(self._notes)
        self._notes = {}
        self.is_blind = False
        self._carried.clear()
        self._identities.clear()
