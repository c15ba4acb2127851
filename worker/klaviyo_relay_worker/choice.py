"""The choice: which commands of a lane go out together, by the rules of the lane's kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.admission import Admission
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.plan import consent, events, lists, privacy, profiles
from klaviyo_relay_worker.plan.batch import Batch, Entry, Situation

CHOOSERS: Mapping[str, Callable[[Sequence[Entry], Situation], list[Batch]]] = {
    "events": events.choose,
    "profiles": profiles.choose,
    "lists": lists.choose,
    "consent": consent.choose,
    "privacy": privacy.choose,
}


class Choice:
    """Plans batches for one lane: asks for what `plan` must know, which is pure."""

    def __init__(
        self, lane: Lane, clock: Clock, accounts: Accounts, admission: Admission, intake: Intake
    ) -> None:
        self._account = lane.account
        self._choose = CHOOSERS[lane.family]
        self._clock = clock
        self._accounts = accounts
        self._admission = admission
        self._intake = intake

    def batches(self, entries: Sequence[Entry], *, is_idle: bool) -> list[Batch]:
        """The next batches from these entries, in order.

        Args:
            entries: of them the batches are made, the oldest first.
            is_idle: nothing of the lane is in flight.
        """
        now = self._clock.now()
        situation = Situation(
            now=now,
            is_idle=is_idle,
            held=self._intake.held(),
            held_from_unsubscribe=self._intake.held_from_unsubscribe(),
            lists=self._accounts.lists(self._account),
            singly=frozenset(self._intake.singly),
            facts=self._admission.facts(entries, now),
        )
        return self._choose(entries, situation)
