"""Import jobs: following one to its end, and telling its failed rows from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.outcome import Dead, Delivered, Failure, Following, failures_of
from klaviyo_relay_worker.plan.batch import Batch, Conversation, Entry, Ledger

_ROW = re.compile(r"/data/(?:attributes/profiles/data/)?(\d+)(?:/|$)")
_FINISHED = ("complete", "cancelled")


Rows = Sequence[Sequence[Entry]]


def look_at(job_id: str, rows: Rows) -> Batch:
    """One look at a job; its rows are settled once it has ended."""
    entries = [entry for row in rows for entry in row]
    return Batch(limits.GET_IMPORT_JOB, entries, partial(_look, job_id, entries, rows))


def job_request(job_id: str) -> Request:
    """GET the job."""
    path = f"/api/profile-bulk-import-jobs/{job_id}"
    return Request(endpoint=limits.GET_IMPORT_JOB, path=path)


def _look(job_id: str, entries: Sequence[Entry], rows: Rows, ledger: Ledger) -> Conversation:
    answer = yield job_request(job_id)
    if not answer.is_accepted:
        # The job is forgotten (Klaviyo keeps it 7 days) or was never there: say it for each row.
        ledger.refuse(entries, failures_of(answer.status, answer.document())[0])
        return
    attributes: dict[str, Any] = answer.document()["data"]["attributes"]
    if attributes["status"] not in _FINISHED:
        for at, row in enumerate(rows):
            ledger.settle(row, Following(job_id, at))
        return
    if attributes["status"] == "cancelled":
        ledger.refuse(entries, Failure(code="cancelled", title="Klaviyo cancelled the import job"))
        return
    judged = Ledger()
    judged.settle(entries, Delivered())
    if attributes.get("failed_count"):
        yield from _blame(job_id, rows, judged)
        _suspect_all(int(attributes["failed_count"]), rows, judged)
    # Only now: an outage between two pages of errors must not deliver what has failed.
    ledger.outcomes.update(judged.outcomes)


def _blame(job_id: str, rows: Rows, ledger: Ledger) -> Conversation:
    path: str | None = f"/api/profile-bulk-import-jobs/{job_id}/import-errors?page%5Bsize%5D=100"
    while path:
        answer = yield Request(endpoint=limits.GET_IMPORT_ERRORS, path=path)
        document = answer.document()
        for error in document.get("data", ()) if answer.is_accepted else ():
            _blame_row(error.get("attributes") or {}, rows, ledger)
        url = urlsplit((document.get("links") or {}).get("next") or "")
        path = f"{url.path}?{url.query}" if url.path else None


def _suspect_all(failed: int, rows: Rows, ledger: Ledger) -> None:
    """Klaviyo has refused more rows than it names: which ones, nobody knows, so a person must see.

    Sending a row again that did go through does no harm: imports are upserts.
    """
    named = sum(isinstance(ledger.outcomes[row[0].key], Dead) for row in rows)
    if named < failed:
        title = (
            f"One of {failed - named} rows of the import job that Klaviyo refused without a name"
        )
        failure = Failure(
            code="unattributed", title=title, detail="redrive it: an upsert, harmless"
        )
        for row in rows:
            if not isinstance(ledger.outcomes[row[0].key], Dead):
                ledger.settle(row, Dead(failure))


def _blame_row(error: dict[str, Any], rows: Rows, ledger: Ledger) -> None:
    failure = failures_of(0, {"errors": [error]})[0]
    found = _ROW.search(failure.pointer)
    if found and int(found[1]) < len(rows):
        ledger.settle(rows[int(found[1])], Dead(failure))
        return
    payload = error.get("original_payload")
    attributes = payload.get("attributes", payload) if isinstance(payload, dict) else {}
    for row in rows:
        if _is_row(row[0], attributes):
            ledger.settle(row, Dead(failure))


def _is_row(entry: Entry, attributes: dict[str, Any]) -> bool:
    for name in ("email", "phone_number", "external_id"):
        ours, theirs = getattr(entry.command, name, None), attributes.get(name)
        if name == "email" and ours is not None and isinstance(theirs, str):
            ours, theirs = ours.lower(), theirs.lower()
        if ours is not None and ours == theirs:
            return True
    return False
