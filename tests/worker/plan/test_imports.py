"""Import jobs: their failed rows are told from the others, whatever happens on the way."""

from __future__ import annotations

from functools import partial

import pytest

from klaviyo_relay import AddToList, Identify
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.outcome import Dead, Delivered, Following, Parked
from klaviyo_relay_worker.plan.batch import Ledger
from klaviyo_relay_worker.plan.imports import (
    UNFINISHED_SECONDS,
    UNKNOWN_SECONDS,
    Job,
    look_at,
)


def rows_of(talk, *people):
    return [[talk.entry(command) for command in row] for row in people]


def person(name):
    return Identify(email=f"{name}@x.io")


def job(status="complete", failed=0):
    return {"data": {"id": "JOB", "attributes": {"status": status, "failed_count": failed}}}


def error(pointer=None, payload=None):
    attributes = {"code": "invalid", "title": "Invalid input.", "detail": "is wrong"}
    attributes["source"] = {"pointer": pointer} if pointer else {}
    attributes["original_payload"] = payload
    return {"type": "import-error", "id": "E", "attributes": attributes}


def looked(talk, rows, job_document, *pages):
    """The outcome's kind of each entry, row by row, and the requests."""
    answers = iter([talk.answer(200, job_document), *(talk.answer(200, page) for page in pages)])
    ledger, requests = talk.converse(look_at(Job("JOB", rows), {}), lambda _: next(answers))
    return [[type(ledger.outcomes[entry.key]) for entry in row] for row in rows], requests, ledger


def test_a_job_without_failures_is_delivered_after_one_look(talk):
    rows = rows_of(talk, [person("a")], [person("b")])
    kinds, requests, _ = looked(talk, rows, job())
    assert kinds == [[Delivered], [Delivered]]
    assert [request.endpoint for request in requests] == [limits.GET_IMPORT_JOB]


@pytest.mark.parametrize("status", ["queued", "processing", "something new"])
def test_a_job_still_running_is_followed_on(talk, status):
    rows = rows_of(talk, [person("a")], [person("b")])
    _, _, ledger = looked(talk, rows, job(status))
    assert list(ledger.outcomes.values()) == [Following("JOB", 0), Following("JOB", 1)]


@pytest.mark.parametrize(
    "failed",
    [
        error("/data/attributes/profiles/data/1"),
        error("/data/attributes/profiles/data/1/attributes/email"),
        error("/data/1/attributes"),
        error(None, {"type": "profile", "attributes": {"email": "b@x.io"}}),
        error(None, {"email": "b@x.io"}),
        error("/data", {"email": "b@x.io"}),
    ],
    ids=["row", "attribute", "short", "payload", "flat payload", "pointer to nothing"],
)
def test_a_failed_row_is_told_by_its_pointer_or_its_payload(talk, failed):
    rows = rows_of(talk, [person("a")], [person("b")], [person("c")])
    kinds, _, ledger = looked(talk, rows, job(failed=1), {"data": [failed]})
    assert kinds == [[Delivered], [Dead], [Delivered]]
    assert ledger.outcomes[rows[1][0].key].failure.detail == "is wrong"


def test_an_email_in_capitals_is_told_by_the_payload(talk):
    rows = rows_of(talk, [Identify(email="Ada@X.io")], [person("b")])
    kinds, _, _ = looked(talk, rows, job(failed=1), {"data": [error(None, {"email": "ada@x.io"})]})
    assert kinds == [[Dead], [Delivered]]


def test_the_commands_of_a_coalesced_row_that_failed_go_by_themselves(talk):
    rows = rows_of(talk, [person("a"), person("a")], [person("b"), person("b")])
    page = {"data": [error("/data/attributes/profiles/data/0")]}
    kinds, _, ledger = looked(talk, rows, job(failed=1), page)
    assert kinds == [[Parked, Parked], [Delivered, Delivered]]
    outcomes = [ledger.outcomes[entry.key] for entry in rows[0]]
    assert all(found.is_alone and found.failure.detail == "is wrong" for found in outcomes)
    assert [found.rank for found in outcomes] == [0, 1], "in their order"


def test_errors_are_read_page_by_page(talk):
    rows = rows_of(talk, *([person(f"p{n}")] for n in range(3)))
    url = "https://a.klaviyo.com/api/profile-bulk-import-jobs/JOB/import-errors?page%5Bcursor%5D=Q"
    first = {"data": [error("/data/attributes/profiles/data/0")], "links": {"next": url}}
    second = {"data": [error("/data/attributes/profiles/data/2")], "links": {"next": None}}
    kinds, requests, _ = looked(talk, rows, job(failed=2), first, second)
    assert kinds == [[Dead], [Delivered], [Dead]]
    assert requests[2].path == url.removeprefix("https://a.klaviyo.com")


PATH = "/api/profile-bulk-import-jobs/JOB/import-errors?page%5Bcursor%5D="


def failing_rows(talk, request):
    """A Klaviyo that has refused all but the last of a job's six rows, and names two a page."""
    if request.endpoint == limits.GET_IMPORT_JOB:
        return talk.answer(200, job(failed=5))
    at = int(request.path.partition(PATH)[2] or 0)
    data = [error(f"/data/attributes/profiles/data/{n}") for n in range(at, min(at + 2, 5))]
    return talk.answer(200, {"data": data, "links": {"next": f"{PATH}{at + 2}" if at < 4 else ""}})


def test_a_look_goes_on_at_the_page_where_the_one_before_was_broken_off(talk):
    rows = rows_of(talk, *([person(f"p{n}")] for n in range(6)))
    readings = {}
    batch = look_at(Job("JOB", rows), readings)
    assert batch.endpoint == limits.GET_IMPORT_JOB
    ledger = Ledger()
    conversation = batch.converse(ledger)
    request = next(conversation)
    for _ in range(2):
        request = conversation.send(failing_rows(talk, request))
    conversation.close()
    assert ledger.outcomes == {}, "before its last page nothing is known of a job"

    again = look_at(Job("JOB", rows), readings)
    assert again.endpoint == limits.GET_IMPORT_ERRORS
    ledger, requests = talk.converse(again, partial(failing_rows, talk))
    assert [request.path for request in requests] == [f"{PATH}2", f"{PATH}4"]
    kinds = [type(ledger.outcomes[row[0].key]) for row in rows]
    assert kinds == [Dead, Dead, Dead, Dead, Dead, Delivered]


def test_a_job_whose_errors_are_all_read_is_judged_again_without_a_request(talk):
    rows = rows_of(talk, *([person(f"p{n}")] for n in range(6)))
    readings = {}
    first, _ = talk.converse(look_at(Job("JOB", rows), readings), partial(failing_rows, talk))
    again = look_at(Job("JOB", rows), readings)
    assert again.endpoint == ""
    ledger, requests = talk.converse(again, partial(failing_rows, talk))
    assert requests == []
    assert ledger.outcomes == first.outcomes


def test_a_look_that_breaks_off_says_nothing_of_any_row(talk):
    # An outage between the job and its errors ends the conversation from outside.
    rows = rows_of(talk, [person("a")], [person("b")])
    ledger = Ledger()
    conversation = look_at(Job("JOB", rows), {}).converse(ledger)
    next(conversation)
    conversation.send(talk.answer(200, job(failed=1)))
    conversation.close()
    assert Delivered() not in ledger.outcomes.values()


def test_a_cancelled_job_refuses_its_rows(talk):
    rows = rows_of(talk, [person("a")])
    _, _, ledger = looked(talk, rows, job("cancelled"))
    assert [found.failure.code for found in ledger.outcomes.values()] == ["cancelled"]


@pytest.mark.parametrize(
    "document",
    [None, {}, {"data": None}, {"data": []}, {"data": {"id": "JOB"}}, {"data": {"attributes": []}}],
    ids=["no body", "no data", "null", "a list", "no attributes", "a list of attributes"],
)
def test_an_answer_that_says_nothing_of_the_job_leaves_it_followed_for_a_day(talk, document):
    rows = rows_of(talk, [person("a")])
    answer = talk.answer(200, document)
    assert answered_late(talk, rows, answer, UNFINISHED_SECONDS - 1) == [Following("JOB", 0)]
    [found] = answered_late(talk, rows, answer, UNFINISHED_SECONDS + 1)
    assert found.failure.code == "unfinished_job"


@pytest.mark.parametrize(
    "page",
    [{"data": None}, {"data": [None]}, {"data": [{"id": "E", "attributes": None}]}],
    ids=["null", "an error that is null", "an error without attributes"],
)
def test_a_page_that_names_no_row_leaves_all_rows_suspect(talk, page):
    rows = rows_of(talk, [person("a")], [person("b")])
    kinds, _, ledger = looked(talk, rows, job(failed=1), page)
    assert kinds == [[Dead], [Dead]]
    assert {found.failure.code for found in ledger.outcomes.values()} == {"unattributed"}


def answered_late(talk, rows, answer, age):
    ledger, _ = talk.converse(look_at(Job("JOB", rows, age=age), {}), lambda _: answer)
    return list(ledger.outcomes.values())


def test_a_forgotten_job_is_said_for_each_row(talk):
    rows = rows_of(talk, [person("a")], [person("b")])
    unknown = talk.refusal("/data", status=404, detail="no such job")
    found = answered_late(talk, rows, unknown, UNKNOWN_SECONDS + 1)
    assert [one.failure.status for one in found] == [404, 404]


def test_a_job_that_is_not_found_a_moment_after_it_was_made_is_followed_on(talk):
    rows = rows_of(talk, [person("a")])
    unknown = talk.refusal("/data", status=404, detail="no such job")
    assert answered_late(talk, rows, unknown, 5.0) == [Following("JOB", 0)]


@pytest.mark.parametrize("status", ["queued", "processing"])
def test_a_job_that_never_ends_becomes_dead_letters_after_a_day(talk, status):
    rows = rows_of(talk, [person("a")], [person("b")])
    answer = talk.answer(200, job(status))
    assert answered_late(talk, rows, answer, UNFINISHED_SECONDS - 1)[0] == Following("JOB", 0)
    found = answered_late(talk, rows, answer, UNFINISHED_SECONDS + 1)
    assert [one.failure.code for one in found] == ["unfinished_job"] * 2


def test_a_job_that_ends_late_is_settled_by_its_rows_all_the_same(talk):
    rows = rows_of(talk, [person("a")])
    assert answered_late(talk, rows, talk.answer(200, job()), 1e6) == [Delivered()]


def test_rows_of_list_commands_are_told_by_external_id(talk):
    rows = rows_of(talk, [AddToList(list_id="AAAAAA", external_id="e1")], [person("b")])
    kinds, _, _ = looked(talk, rows, job(failed=1), {"data": [error(None, {"external_id": "e1"})]})
    assert kinds == [[Dead], [Delivered]]
