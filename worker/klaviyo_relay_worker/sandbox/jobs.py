"""Jobs that Klaviyo works off later: imports, suppressions and their opposite.

A job is queued for the first half of its delay, then processing, then complete. There is no
thread behind it: whoever next takes the store's lock first finishes the jobs that are due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from .ids import IdMaker

EXPIRY_SECONDS = 7 * 24 * 3600
"""`expires_at` of an import job: a week after its creation (Klaviyo OpenAPI 2026-07-15)."""


class RowFault(msgspec.Struct):
    """Why one row of an import failed."""

    id: str
    index: int
    code: str
    title: str
    detail: str
    payload: bytes


class Job(msgspec.Struct, kw_only=True):
    """One job; instants in epoch seconds."""

    id: str
    kind: str
    """Its JSON:API type."""
    created: float
    due: float
    total: int
    work: Callable[[Job], None]
    """Does it all; called once, when it is due."""
    list_ids: tuple[str, ...] = ()
    segment_ids: tuple[str, ...] = ()
    done: bool = False
    skipped: int = 0
    faults: list[RowFault] = []
    profile_ids: list[str] = []

    def status(self, now: float) -> str:
        """The status as Klaviyo names it."""
        if self.done:
            return "complete"
        return "processing" if now - self.created >= (self.due - self.created) / 2 else "queued"


class Jobs:
    """All jobs, in the order of their creation. Not thread-safe: the store's lock guards it."""

    def __init__(self, ids: IdMaker) -> None:
        """Start without any; `ids` names the jobs to come."""
        self._ids = ids
        self._by_id: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self.are_held = False
        """Whether jobs stay undone, however long they have been due."""

    def __iter__(self) -> Iterator[Job]:
        """Every job, oldest first."""
        return iter(self._by_id.values())

    def get(self, kind: str, job_id: str) -> Job | None:
        """The job of this kind with this id."""
        job = self._by_id.get(job_id)
        return job if job and job.kind == kind else None

    def create(
        self,
        kind: str,
        *,
        total: int,
        work: Callable[[Job], None],
        now: float,
        delay: float,
        list_ids: tuple[str, ...] = (),
        segment_ids: tuple[str, ...] = (),
    ) -> Job:
        """Queue `work`, to be done `delay` seconds from `now`."""
        job = Job(
            id=self._ids.ulid(now),
            kind=kind,
            created=now,
            due=now + delay,
            total=total,
            work=work,
            list_ids=list_ids,
            segment_ids=segment_ids,
        )
        self._by_id[job.id] = job
        self._waiting.append(job)
        return job

    def fail(
        self, job: Job, index: int, payload: bytes, now: float, *, code: str, detail: str
    ) -> None:
        """Note that one row of `job` failed."""
        fault = RowFault(self._ids.ulid(now), index, code, "Invalid input.", detail, payload)
        job.faults.append(fault)

    def finish_due(self, now: float) -> int:
        """Do the work of the jobs that are due; say how many.

        In the order in which they were due, not made: how often somebody looked in between must
        make no difference, or a replay would give other ids.
        """
        if self.are_held:
            return 0
        due = sorted((job for job in self._waiting if job.due <= now), key=lambda job: job.due)
        if due:
            self._waiting = deque(job for job in self._waiting if job.due > now)
        for job in due:
            job.work(job)
            job.done = True
            job.work = _nothing
        return len(due)

    def shift(self, seconds: float) -> None:
        """The clock has jumped, which makes no work longer or shorter."""
        for job in self._waiting:
            job.due += seconds

    def waiting(self) -> bool:
        """Whether any job is not done yet."""
        return bool(self._waiting)


def _nothing(_: Job) -> None:
    """Replaces work that is done, so that its rows can be freed."""
