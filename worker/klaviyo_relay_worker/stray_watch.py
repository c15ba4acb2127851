"""The stray watch: nothing is sent while an import job may be ours without our knowing.

See `plan/strays` for why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Reason, Snooze
from klaviyo_relay_worker.plan import imports, strays
from klaviyo_relay_worker.settings import REQUEST_SECONDS_MOST
from klaviyo_relay_worker.turn import Turn

# How soon the jobs that may be ours are looked at again.
STRAY_SECONDS = 2.0


class StrayWatch:
    """The imports that were sent and of which nobody knows what became, in this turn or before.

    Args:
        notes: of those of earlier turns: name -> when, in seconds since 1970 (see
            `Lane.note_import`).
    """

    def __init__(
        self,
        lane: Lane,
        clock: Clock,
        notes: Mapping[str, float],
        *,
        turn: Turn,
        intake: Intake,
        clearance: Clearance,
    ) -> None:
        self._lane = lane
        self._clock = clock
        self._notes = dict(notes)
        self._turn = turn
        self._intake = intake
        self._clearance = clearance

    @property
    def is_on(self) -> bool:
        """Whether such an import may still become, or be, an unfinished job."""
        return bool(self._notes)

    def add(self, notes: Mapping[str, float]) -> None:
        """One of this turn's; a turn may go on after it, as in a line-up."""
        self._notes.update(notes)

    def errands(self) -> Iterator[Errand]:
        """A look at Klaviyo's unfinished jobs, once nothing of ours is in flight."""
        if not (self._clearance.is_idle and self._clearance.is_open):
            return
        since, until = min(self._notes.values()), max(self._notes.values()) + REQUEST_SECONDS_MOST
        if self._clock.now() - since > imports.UNFINISHED_SECONDS:
            self._end()
            return
        batch = strays.look_for(strays.Moment(since, until), self._intake.followed())
        if self._clearance.clear(batch):
            yield Errand(batch, self._settle)

    def _settle(self, returned: Returned) -> None:
        if returned.snooze is not None:
            return
        if returned.ledger.strays:
            detail = f"{returned.ledger.strays} unfinished jobs at Klaviyo may be ours"
            self._turn.wait(Snooze(STRAY_SECONDS, Reason.STRAY_JOB, detail=detail))
        else:
            self._end()

    def _end(self) -> None:
        self._lane.forget_imports(self._notes)
        self._notes = {}
