"""Following: import jobs that Klaviyo took are looked at until they end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

from klaviyo_relay_worker.admission import Admission
from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.clock import Clock
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.intake import Intake
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.plan import imports
from klaviyo_relay_worker.settlement import JobRecord

logger = logging.getLogger("klaviyo_relay_worker.follow")


class Follow:
    """The import jobs of one lane.

    Args:
        readings: what was read of their errors, in earlier turns, too. It is added to here, and
            jobs that are followed no more are taken out.
    """

    def __init__(
        self,
        lane: Lane,
        lease: Lease,
        clock: Clock,
        readings: imports.Readings,
        *,
        admission: Admission,
        intake: Intake,
        clearance: Clearance,
    ) -> None:
        self._lane = lane
        self._lease = lease
        self._clock = clock
        self._readings = readings
        self._admission = admission
        self._intake = intake
        self._clearance = clearance

    def errands(self) -> Iterator[Errand]:
        """A look at each job whose time has come, as far as they may go now."""
        self._forget_ended()
        for job_id, record in self._intake.jobs:
            # Asked first: the rows are many, and a pass may come every tenth of a second.
            if not self._clearance.is_open:
                return
            job = self._job(job_id, record)
            batch = imports.look_at(job, self._readings)
            if not self._clearance.clear(batch):
                return
            self._tell_if_late(job)
            self._intake.look_sent(job_id)
            yield Errand(batch, partial(self._settle, job_id, record))

    def _forget_ended(self) -> None:
        """Drop what was read of jobs that another planner may have settled meanwhile."""
        if self._readings:
            for job_id in self._readings.keys() - set(self._intake.followed()):
                del self._readings[job_id]

    def _job(self, job_id: str, record: JobRecord) -> imports.Job:
        now = self._clock.now()
        return imports.Job(job_id, record.parts(), now - record.since, now)

    def _tell_if_late(self, job: imports.Job) -> None:
        if job.age > imports.LATE_SECONDS:
            logger.warning(
                "%s: the import job %s has not ended after %.0f minutes; Klaviyo's import page may"
                " tell why. %d commands wait for it",
                self._lane.name,
                job.id,
                job.age / 60,
                len(job.entries),
            )

    def _settle(self, job_id: str, record: JobRecord, returned: Returned) -> None:
        now = self._clock.now()
        batch, ledger = returned.batch, returned.ledger
        self._admission.settling(batch.entries, ledger.outcomes, now)
        has_ended = self._lane.settle_job(
            self._lease, job_id, record, ledger.outcomes, now, facts=ledger.facts
        )
        self._intake.look_returned(job_id, batch, ledger, has_ended=has_ended)
