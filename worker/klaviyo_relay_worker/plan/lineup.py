"""The line-up: singles out the command that Klaviyo cannot digest. Pure.

A command that Klaviyo answers with a server error each time looks like an outage: its whole batch
fails, again and again, and would hold its lane for ever. So after a few failures in a row the lane
sends few at a time: first one command; if that fails, others from elsewhere in the lane as
witnesses. If all of them fail, Klaviyo is down and nobody is blamed. If one passes, Klaviyo works,
and the failing batch is halved until one command is left over: log2(n) + 3 requests or so.

Blame needs an alibi of Klaviyo's: a command is a culprit only if some request of the line-up, or of
another lane meanwhile, was answered properly.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from klaviyo_relay_worker.plan.batch import Entry

# One command that is tried, and so many witnesses, before it is called an outage.
WITNESSES = 2
# This many more failures in a row than halving explains, and it is an outage after all.
_STREAK_SLACK = 3
_NO_LIMIT = 1_000_000


class Lineup:
    """One search, in one turn at a lane.

    Args:
        guilty: how many commands the batch had that failed last; 0 if that is not known.
        is_up: other lanes got proper answers since this one began to fail.
        chance: picks the witnesses.

    Attributes:
        is_outage: Klaviyo fails with everything.
        is_over: nothing is left to search, and the lane goes on as usual.
    """

    def __init__(self, guilty: int, *, is_up: bool, chance: Random) -> None:
        self._guilty = guilty
        self._most = 1
        self._is_up = is_up
        self._chance = chance
        self._streak = 0
        self._largest = 0
        self._suspects: list[Entry] = []
        self._culprits: list[Entry] = []
        self.is_outage = False
        self.is_over = False

    def offer(self, candidates: Sequence[Entry]) -> Sequence[Entry]:
        """Those from which the next batch may be chosen; none when the search is at its end.

        Args:
            candidates: what may be sent now, in order, one of each profile.
        """
        keys = {entry.key for entry in (*self._suspects, *self._culprits)}
        free = [entry for entry in candidates if entry.key not in keys]
        if not free:
            self._end()
            return ()
        if self._streak and not self._is_up:
            return [self._chance.choice(free)]
        return free[: self._most]

    def passed(self, sent: Sequence[Entry]) -> None:
        """Klaviyo answered properly, whatever it said: it works."""
        self._is_up = True
        self._streak = self._largest = 0
        self._culprits += self._suspects
        self._suspects = []
        had_guilty = self._guilty > 0
        self._guilty = max(0, self._guilty - len(sent))
        # A fault that comes and goes: the usual backoff is the better answer to it.
        self.is_over = had_guilty and not self._guilty
        self._most = max(1, self._guilty // 2) if self._guilty else _NO_LIMIT

    def failed(self, sent: Sequence[Entry]) -> None:
        """A server error again."""
        self._streak += 1
        self._largest = max(self._largest, len(sent))
        if len(sent) == 1:
            self._suspects += sent
            self._guilty = 0
        else:
            self._guilty = len(sent)
        self._most = max(1, self._guilty // 2) if self._guilty else _NO_LIMIT
        self.is_outage = self._streak > self._streak_allowed()

    def take_culprits(self) -> list[Entry]:
        """The commands that are singled out by now; each is given once."""
        found, self._culprits = self._culprits, []
        return found

    def _streak_allowed(self) -> int:
        if not self._is_up:
            return WITNESSES
        return self._largest.bit_length() + len(self._suspects) + _STREAK_SLACK

    def _end(self) -> None:
        """Nothing is left to compare the last suspects with: one is blamed, or Klaviyo is down."""
        self.is_over = True
        if self._is_up:
            self._culprits += self._suspects[:1]
        else:
            self.is_outage = bool(self._suspects)
