"""The agenda: what goes out next from a lane, most urgent first.

1. looks at import jobs whose time has come
2. while Klaviyo may be failing with one of the commands: a line-up, one batch at a time
3. while Klaviyo may have made a job of an import whose answer was lost: only the look for that job.
   If the import was of an earlier turn, nobody knows whom it concerns, and this comes before 2
4. commands that go by themselves, so that they can harm no other
5. all others, in batches as large as Klaviyo takes
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from klaviyo_relay_worker.choice import Choice
from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.dispatch import Dispatch
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.follow import Follow
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.outcome import Outcome
from klaviyo_relay_worker.plan.batch import Batch, Entry, decided
from klaviyo_relay_worker.stray_watch import StrayWatch
from klaviyo_relay_worker.suspicion import Suspicion
from klaviyo_relay_worker.turn import Turn


class Agenda:
    """What one turn sends."""

    def __init__(
        self,
        turn: Turn,
        intake: Intake,
        clearance: Clearance,
        *,
        choice: Choice,
        dispatch: Dispatch,
        follow: Follow,
        stray_watch: StrayWatch,
        suspicion: Suspicion,
    ) -> None:
        self._turn = turn
        self._intake = intake
        self._clearance = clearance
        self._choice = choice
        self._dispatch = dispatch
        self._follow = follow
        self._stray_watch = stray_watch
        self._suspicion = suspicion

    def plan(self) -> Iterator[Errand]:
        """What may go now. Each has its quota, and must be sent before the next is asked for."""
        yield from self._follow.errands()
        if self._suspicion.is_searching and not self._stray_watch.is_blind:
            yield from self._next_of_lineup()
            if self._suspicion.is_searching:
                return
        if self._stray_watch.is_on:
            yield from self._stray_watch.errands()
            return
        yield from self._alone()
        yield from self._together()

    def _next_of_lineup(self) -> Iterator[Errand]:
        if not (self._clearance.is_idle and self._clearance.is_open):
            return
        candidates = self._stray_watch.harmless(self._intake.candidates())
        offered = self._suspicion.offer(candidates)
        culprits = self._suspicion.culprits()
        if culprits:
            yield from self._tell_verdicts(culprits)
        elif self._suspicion.outage:
            self._turn.wait(self._suspicion.outage)
        else:
            for batch in self._choice.batches(offered, is_idle=True)[:1]:
                yield from self._go(batch)

    def _tell_verdicts(self, culprits: Sequence[tuple[Entry, Outcome]]) -> Iterator[Errand]:
        """At once, since each is given only once; it takes no request, and hence no quota."""
        while culprits:
            errand = self._dispatch.errand(decided(culprits))
            if errand is not None:
                yield errand
                return
            # Some of them may not be sent any more and are settled: on with the others.
            left = {entry.key for entry in self._intake.waiting}
            culprits = [one for one in culprits if one[0].key in left]

    def _alone(self) -> Iterator[Errand]:
        for entry in self._intake.alone():
            for batch in self._choice.batches([entry], is_idle=True):
                if not (yield from self._go(batch)):
                    return

    def _together(self) -> Iterator[Errand]:
        while self._clearance.is_open and self._intake.waiting:
            if not (yield from self._those_of_one_plan()):
                return

    def _those_of_one_plan(self) -> Generator[Errand, None, bool]:
        """Returns whether another plan may find more."""
        was_idle = self._clearance.is_idle
        finds_more = False
        for batch in self._choice.batches(self._intake.together(), is_idle=was_idle):
            # While something is in flight the next batch grows, until it is full.
            if not (was_idle or batch.is_full) or not self._clearance.clear(batch):
                break
            finds_more = True
            errand = self._dispatch.errand(batch)
            if errand is None:
                break  # the plan is void, and the next one goes on without the refused ones
            yield errand
        return finds_more

    def _go(self, batch: Batch) -> Generator[Errand, None, bool]:
        """Returns whether the batch was cleared; it goes then, unless its commands may not."""
        if not self._clearance.clear(batch):
            return False
        errand = self._dispatch.errand(batch)
        if errand is not None:
            yield errand
        return True
