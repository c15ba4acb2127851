"""The turn: whether a planner may go on at its lane, and why the lane waits when it may not."""

from __future__ import annotations

import time
from collections.abc import Callable

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Reason, Snooze

# A planner gives its place up after this long, so that no lane holds a worker's thread for ever.
TURN_SECONDS = 20.0
# How often a turn asks whether it may still deliver.
ASK_SECONDS = 1.0
# Enough to use up a limit of 2.5 requests a second when each takes 2 seconds, with room.
IN_FLIGHT_MOST = 8


class Turn:
    """One turn at a lane, from its lease to its end.

    Args:
        lane: the lane.
        accounts: are paused where Klaviyo refuses the key.
        failures: outages of the lane in a row before this turn.
        is_draining: asked before each plan; true ends the turn after what is in flight.
        is_allowed: asked once a second; false, a pause or an open breaker, ends it likewise.
        is_probe: until Klaviyo has answered properly, one batch at a time.

    Attributes:
        snooze: why the lane must wait, or None. Of several reasons the longest counts.
    """

    def __init__(
        self,
        lane: Lane,
        accounts: Accounts,
        *,
        failures: int,
        is_draining: Callable[[], bool],
        is_allowed: Callable[[], bool],
        is_probe: bool,
    ) -> None:
        self._lane = lane
        self._accounts = accounts
        self._failures = failures
        self._is_draining = is_draining
        self._is_allowed = is_allowed
        self._is_probe = is_probe
        self._is_halted = False
        self._asked_at = time.monotonic()
        self._ends_at = time.monotonic() + TURN_SECONDS
        self.snooze: Snooze | None = None

    @property
    def is_out_of_time(self) -> bool:
        """Whether the turn has lasted as long as one may."""
        return time.monotonic() > self._ends_at

    def ask_leave(self) -> None:
        """A pause, or a breaker that another planner opened, need not wait for the turn's end."""
        # A probe would meet itself: its own breaker is open to nobody else.
        if self._is_probe or time.monotonic() - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = time.monotonic()
        self._is_halted = not self._is_allowed()

    def goes_on(self, in_flight: int) -> bool:
        """Whether there may be more to do: what is in flight is waited for in any case."""
        return in_flight > 0 or self._is_open()

    def may_send(self, in_flight: int) -> bool:
        """Whether one more batch may go beside so many."""
        return self._is_open() and in_flight < (1 if self._is_probe else IN_FLIGHT_MOST)

    def wait(self, snooze: Snooze) -> None:
        """The lane must wait; nothing more is sent in this turn."""
        if self.snooze is None or snooze.seconds > self.snooze.seconds:
            self.snooze = snooze

    def learn(self, returned: Returned) -> None:
        """What came back says something of Klaviyo, beside the commands.

        Raises:
            LeaseLostError: another planner has the lane, or will have it soon.
        """
        snooze = returned.snooze
        if snooze is None:
            self._is_probe = self._is_probe and not returned.batch.endpoint
            self._recover()
            return
        if snooze.reason == Reason.LEASE:
            raise LeaseLostError(snooze.detail)
        if snooze.reason == Reason.UNAUTHORIZED:
            self._accounts.pause(self._lane.account, self._lane.family, snooze)
        self.wait(snooze)

    def _recover(self) -> None:
        if self._failures:
            self._failures = 0
            self._lane.recover()

    def _is_open(self) -> bool:
        is_over = self.is_out_of_time or self._is_halted or self._is_draining()
        return self.snooze is None and not is_over
