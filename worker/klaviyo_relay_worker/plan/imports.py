"""Import jobs: following one to its end, and telling its failed rows from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec import Struct, field

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.klaviyo.pages import next_page
from klaviyo_relay_worker.outcome import (
    Dead,
    Delivered,
    Failure,
    Following,
    Parked,
    Parking,
    failures_of,
)
from klaviyo_relay_worker.plan.batch import Batch, Conversation, Entry, Ledger, refusal_of

_ROW = re.compile(r"/data/(?:attributes/profiles/data/)?(\d+)(?:/|$)")
# A job that was made a moment ago may not be found yet; later on Klaviyo has forgotten it.
UNKNOWN_SECONDS = 600.0
# From this age on a job is reported, and from that on it holds its profiles no longer. Klaviyo says
# nothing of how long a job may take; a large one takes minutes.
LATE_SECONDS, UNFINISHED_SECONDS = 3600.0, 86_400.0
UNFINISHED = Failure(
    code="unfinished_job",
    title="The import job has not ended within a day",
    detail="redrive it: an upsert, harmless",
)


Rows = Sequence[Sequence[Entry]]


class Job(Struct, frozen=True):
    """An import job that is looked at.

    Attributes:
        id: Klaviyo's.
        rows: the commands of each row.
        age: seconds since Klaviyo took it.
        now: seconds since 1970.
    """

    id: str
    rows: Rows
    age: float = 0.0
    now: float = 0.0

    @property
    def entries(self) -> list[Entry]:
        """All its commands."""
        return [entry for row in self.rows for entry in row]


class Reading(Struct):
    """How far the errors of a job that has ended are read: a look goes on where one was broken off.

    Attributes:
        failed: so many rows Klaviyo has refused.
        page: the next one, or None if there is no more.
        blamed: what the pages before it say.
    """

    failed: int
    page: Request | None
    blamed: Ledger = field(default_factory=Ledger)


Readings = dict[str, Reading]
"""By the jobs' ids."""


def look_at(job: Job, readings: Readings) -> Batch:
    """One look at a job; its rows are settled once it has ended.

    Args:
        job: the job.
        readings: of the looks before; this one adds to them.
    """
    converse = partial(_look, job, readings)
    return Batch(_first_endpoint(readings.get(job.id)), job.entries, converse)


def _first_endpoint(reading: Reading | None) -> str:
    if reading is None:
        return limits.GET_IMPORT_JOB
    return reading.page.endpoint if reading.page is not None else ""


def job_request(job_id: str) -> Request:
    """GET the job."""
    path = f"/api/profile-bulk-import-jobs/{job_id}"
    return Request(endpoint=limits.GET_IMPORT_JOB, path=path)


def errors_request(job_id: str) -> Request:
    """GET the first page of its errors."""
    path = f"/api/profile-bulk-import-jobs/{job_id}/import-errors?page%5Bsize%5D=100"
    return Request(endpoint=limits.GET_IMPORT_ERRORS, path=path)


def _look(job: Job, readings: Readings, ledger: Ledger) -> Conversation:
    if job.id not in readings:
        answer = yield job_request(job.id)
        _judge(job, answer, readings, ledger)
    if job.id in readings:
        yield from _read_on(job, readings[job.id])
        _settle_complete(job, readings[job.id], ledger)


def _judge(job: Job, answer: Answer, readings: Readings, ledger: Ledger) -> None:
    # An answer of another shape says nothing of the job, so that its age decides in the end.
    attributes = _object(_object(_object(answer.document()).get("data")).get("attributes"))
    if attributes.get("status") == "complete":
        failed = int(attributes.get("failed_count") or 0)
        readings[job.id] = Reading(failed, errors_request(job.id) if failed else None)
    elif attributes.get("status") == "cancelled":
        failure = Failure(code="cancelled", title="Klaviyo cancelled the import job")
        ledger.refuse(job.entries, failure)
    elif not answer.is_accepted and job.age > UNKNOWN_SECONDS:
        # Klaviyo forgets jobs after 7 days (`expires_at`), or never knew it: say so of each row.
        ledger.refuse(job.entries, refusal_of(answer))
    elif job.age > UNFINISHED_SECONDS:
        ledger.refuse(job.entries, UNFINISHED)
    else:
        for at, row in enumerate(job.rows):
            ledger.settle(row, Following(job.id, at))


def _read_on(job: Job, reading: Reading) -> Conversation:
    while reading.page is not None:
        answer = yield reading.page
        document = _object(answer.document())
        for error in document.get("data") or () if answer.is_accepted else ():
            _blame_row(_object(_object(error).get("attributes")), job.rows, reading.blamed)
        reading.page = next_page(reading.page, document)


def _settle_complete(job: Job, reading: Reading, ledger: Ledger) -> None:
    ledger.settle(job.entries, Delivered())
    ledger.outcomes.update(reading.blamed.outcomes)
    _suspect_all(reading.failed, job.rows, ledger)
    _take_apart(job, ledger)


def _object(found: Any) -> dict[str, Any]:
    """A JSON object, or an empty one where there is something else."""
    return found if isinstance(found, dict) else {}


def _take_apart(job: Job, ledger: Ledger) -> None:
    """Of several commands that were one failed row, each is sent by itself: most may be good."""
    for row in job.rows:
        outcome = ledger.outcomes[row[0].key] if len(row) > 1 else None
        if isinstance(outcome, Dead):
            for rank, entry in enumerate(row):
                parked = Parked(
                    job.now, Parking.ROW_REFUSED, outcome.failure, is_alone=True, rank=rank
                )
                ledger.settle((entry,), parked)


def _suspect_all(failed: int, rows: Rows, ledger: Ledger) -> None:
    """Klaviyo has refused more rows than it names: which ones, nobody knows, so a person must see.

    Sending a row again that did go through does no harm: imports are upserts.
    """
    # A row is empty if its commands were gone from the lane when the job was written down.
    named = sum(not row or isinstance(ledger.outcomes[row[0].key], Dead) for row in rows)
    if named < failed:
        title = (
            f"One of {failed - named} rows of the import job that Klaviyo refused without a name"
        )
        failure = Failure(
            code="unattributed", title=title, detail="redrive it: an upsert, harmless"
        )
        for row in rows:
            if row and not isinstance(ledger.outcomes[row[0].key], Dead):
                ledger.settle(row, Dead(failure))


def _blame_row(error: dict[str, Any], rows: Rows, ledger: Ledger) -> None:
    failure = failures_of(0, {"errors": [error]})[0]
    found = _ROW.search(failure.pointer)
    if found and int(found[1]) < len(rows):
        ledger.settle(rows[int(found[1])], Dead(failure))
        return
    payload = error.get("original_payload")
    attributes = _object(_object(payload).get("attributes", payload))
    for row in rows:
        if row and _is_row(row[0], attributes):
            ledger.settle(row, Dead(failure))


def _is_row(entry: Entry, attributes: dict[str, Any]) -> bool:
    for name in ("email", "phone_number", "external_id"):
        ours, theirs = getattr(entry.command, name, None), attributes.get(name)
        if name == "email" and ours is not None and isinstance(theirs, str):
            ours, theirs = ours.lower(), theirs.lower()
        if ours is not None and ours == theirs:
            return True
    return False
