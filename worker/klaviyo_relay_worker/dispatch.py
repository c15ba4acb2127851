"""The dispatch: commands on their way to Klaviyo, from their lane to the outcome written there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.admission import Admission
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.plan.batch import Batch, Entry, Ledger


class Progress(Struct):
    """How far an errand has come whose settling may be interrupted by a fault of Redis.

    Attributes:
        is_in_lane: the outcomes are written there, and telemetry was told of them.
    """

    is_in_lane: bool = False


class Dispatch:
    """The commands of one lane.

    Args:
        watch_for: told of the imports whose fate is unknown (see `Ledger`), and what they carried.
    """

    def __init__(
        self,
        lane: Lane,
        lease: Lease,
        clock: Clock,
        accounts: Accounts,
        *,
        admission: Admission,
        intake: Intake,
        watch_for: Callable[[Mapping[str, float], Sequence[Entry]], None],
    ) -> None:
        self._lane = lane
        self._lease = lease
        self._clock = clock
        self._accounts = accounts
        self._admission = admission
        self._intake = intake
        self._watch_for = watch_for

    def errand(self, batch: Batch) -> Errand | None:
        """An errand for the batch, or None where some of its commands may not be sent any more.

        Those are settled at once, and the plan that the batch belongs to is void.
        """
        if self._intake.refuse(batch, self._clock.now()):
            return None
        self._intake.sent(batch)
        return Errand(batch, partial(self._settle, Progress()))

    def _settle(self, progress: Progress, returned: Returned) -> None:
        batch, ledger = returned.batch, returned.ledger
        if not progress.is_in_lane:
            self._write(batch, ledger)
            progress.is_in_lane = True
        self._lane.forget_imports(ledger.imports)
        self._accounts.learn_lists(self._lane.account, ledger.lists)
        self._watch_for(ledger.unsure, batch.entries)
        self._intake.returned(batch, ledger)

    def _write(self, batch: Batch, ledger: Ledger) -> None:
        now = self._clock.now()
        self._admission.settling(batch.entries, ledger.outcomes, now)
        # Before the command leaves its lane: whoever waits for the id must find it.
        self._accounts.keep_created(self._lane.account, ledger.created)
        self._lane.settle(self._lease, batch.entries, ledger.outcomes, now, facts=ledger.facts)
