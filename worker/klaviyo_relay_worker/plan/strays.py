"""Stray jobs: import jobs that Klaviyo may have taken though its answer never reached us.

Jobs have no order among each other. If the answer to an import is lost, its commands are sent
again, and what comes later for the same profiles waits for the second job; the first one may still
be in Klaviyo's queue and would undo later commands. Nothing in a job names its sender, so before a
lane goes on after such a loss, every unfinished job of that moment must have ended.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.pages import next_page
from klaviyo_relay_worker.plan.batch import Batch, Conversation, Ledger, refusal_of

# Klaviyo may make a job after the answer to its request was lost, and says nothing of how long
# after. We give a request up after 7.5 seconds at most; until this age of it no look can prove that
# there is no job of it.
APPEARS_SECONDS = 15.0
# Klaviyo's clock and ours may differ by this much.
CLOCK_SECONDS = 60.0
_UNFINISHED = quote('any(status,["queued","processing"])')


class Moment(Struct, frozen=True):
    """When the imports were sent whose fate is unknown.

    Attributes:
        since, until: seconds since 1970.
    """

    since: float
    until: float


def look_for(moment: Moment, known: Collection[str]) -> Batch:
    """Counts in the ledger the unfinished jobs of that moment that we do not follow.

    Args:
        moment: when ours would have been made.
        known: jobs that a lane of the account follows.
    """
    return Batch(limits.GET_IMPORT_JOBS, (), partial(_look, moment, known))


def jobs_request() -> Request:
    """GET the unfinished jobs, newest first."""
    path = f"/api/profile-bulk-import-jobs?filter={_UNFINISHED}&sort=-created_at"
    return Request(endpoint=limits.GET_IMPORT_JOBS, path=f"{path}&page%5Bsize%5D=100")


def _look(moment: Moment, known: Collection[str], ledger: Ledger) -> Conversation:
    request: Request | None = jobs_request()
    while request is not None:
        answer = yield request
        if not answer.is_accepted:
            ledger.look_refused = refusal_of(answer)
            return
        document: dict[str, Any] = answer.document()
        jobs = document.get("data") or []
        ages = [_created(job) for job in jobs]
        ledger.strays += sum(
            job.get("id") not in known and _is_within(moment, created)
            for job, created in zip(jobs, ages, strict=True)
        )
        is_past = bool(ages) and ages[-1] < moment.since - CLOCK_SECONDS
        request = None if is_past else next_page(request, document)


def _is_within(moment: Moment, created: float) -> bool:
    return moment.since - CLOCK_SECONDS <= created <= moment.until + CLOCK_SECONDS


def _created(job: dict[str, Any]) -> float:
    return datetime.fromisoformat(job["attributes"]["created_at"]).timestamp()
