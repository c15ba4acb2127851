"""Stray jobs: which unfinished jobs at Klaviyo may come from an import whose answer was lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from klaviyo_relay_worker.plan.strays import CLOCK_SECONDS, Moment, look_for

SENT = 1_700_000_000.0


def job(identity, created):
    at = datetime.fromtimestamp(created, UTC).isoformat()
    return {"type": "profile-bulk-import-job", "id": identity, "attributes": {"created_at": at}}


def counted(talk, *pages, known=()):
    """Strays of what was sent within the second after SENT, and the requests."""
    answers = iter([talk.answer(200, page) for page in pages])
    batch = look_for(Moment(SENT, SENT + 1), known)
    ledger, requests = talk.converse(batch, lambda _: next(answers))
    return ledger.strays, requests


def test_an_empty_queue_has_no_strays(talk):
    assert counted(talk, {"data": []})[0] == 0


@pytest.mark.parametrize(
    ("created", "strays"),
    [
        (SENT, 1),
        (SENT + 1, 1),
        (SENT - CLOCK_SECONDS + 1, 1),
        (SENT + CLOCK_SECONDS, 1),
        (SENT - CLOCK_SECONDS - 1, 0),
        (SENT + 1 + CLOCK_SECONDS + 1, 0),
    ],
)
def test_a_job_of_the_moment_is_a_stray_give_or_take_the_clocks(talk, created, strays):
    assert counted(talk, {"data": [job("J", created)]})[0] == strays


def test_jobs_that_are_followed_are_no_strays(talk):
    assert counted(talk, {"data": [job("J", SENT), job("K", SENT)]}, known=["J"])[0] == 1


def test_a_refused_look_has_seen_nothing(talk):
    batch = look_for(Moment(SENT, SENT + 1), ())
    ledger, requests = talk.converse(batch, lambda _: talk.refusal("/data", status=400))
    assert (ledger.look_refused.status, len(requests)) == (400, 1)


def test_pages_are_read_until_the_jobs_are_older(talk):
    url = "https://a.klaviyo.com/api/profile-bulk-import-jobs?page%5Bcursor%5D=Q"
    first = {"data": [job("J", SENT)], "links": {"next": url}}
    second = {"data": [job("K", SENT - 1e6)], "links": {"next": url}}
    strays, requests = counted(talk, first, second)
    assert strays == 1
    assert [one.path for one in requests][1:] == [url.removeprefix("https://a.klaviyo.com")]
