"""Judging: which answers speak of the commands, and how long the lane waits after the others."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker import judge
from klaviyo_relay_worker.errors import AnswerLostError, NotSentError
from klaviyo_relay_worker.klaviyo.exchange import Answer
from klaviyo_relay_worker.outcome import Effect, Reason


def judged(status, failures=0, chance=0.5, body=b"", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge.interruption(Answer(status, names, body), failures, lambda: chance)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 400, 409, 413, 422])
def test_an_answer_about_the_commands_interrupts_nothing(status):
    assert judged(status) is None


def test_a_document_of_klaviyos_interrupts_nothing():
    assert judged(200, body=b'{"data": []}') is None
    assert judged(404, body=b'{"errors": [{"code": "not_found"}]}') is None


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"[]", b'"ok"'])
@pytest.mark.parametrize("status", [200, 202])
def test_a_page_of_something_in_between_is_no_delivery(status, body):
    snooze = judged(status, body=body)
    assert (snooze.reason, snooze.is_failure, snooze.effect) == (Reason.OUTAGE, True, Effect.OPEN)


@pytest.mark.parametrize("body", [b"", b"<html>Not Found</html>", b"{}"])
def test_a_404_without_klaviyos_word_is_a_wrong_address_and_no_commands_fault(body):
    snooze = judged(404, body=body)
    assert (snooze.reason, snooze.effect) == (Reason.MISCONFIGURED, Effect.NONE)


@pytest.mark.parametrize(
    ("status", "reason", "is_failure"),
    [
        (301, Reason.OUTAGE, True),
        (302, Reason.OUTAGE, True),
        (401, Reason.UNAUTHORIZED, False),
        (403, Reason.UNAUTHORIZED, False),
        (405, Reason.MISCONFIGURED, True),
        (408, Reason.OUTAGE, True),
        (410, Reason.MISCONFIGURED, True),
        (415, Reason.MISCONFIGURED, True),
        (429, Reason.THROTTLED, True),
        (500, Reason.OUTAGE, True),
        (502, Reason.OUTAGE, True),
        (503, Reason.OUTAGE, True),
        (504, Reason.OUTAGE, True),
        (524, Reason.OUTAGE, True),
    ],
)
def test_an_answer_about_klaviyo_lets_the_lane_wait(status, reason, is_failure):
    snooze = judged(status)
    assert (snooze.reason, snooze.is_failure) == (reason, is_failure)
    assert snooze.detail == str(status)
    assert snooze.seconds > 0


def test_a_throttled_lane_waits_as_klaviyo_says():
    snooze = judged(429, retry_after="30")
    assert 30 <= snooze.seconds <= 30.25
    assert not snooze.is_failure, "the next wait is as long as Klaviyo says then, too"


@pytest.mark.parametrize("headers", [{}, {"retry_after": "0"}, {"retry_after": "soon"}])
def test_a_lane_that_is_not_told_how_long_waits_longer_each_time(headers):
    snoozes = [judged(429, failures, 0.9, **headers) for failures in range(10)]
    waits = [one.seconds for one in snoozes]
    assert waits == sorted(waits)
    assert waits[-1] > 54
    assert all(one.is_failure for one in snoozes)


def test_outages_wait_longer_each_time():
    waits = [judged(503, failures, 0.9).seconds for failures in range(10)]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(54.0)


@pytest.mark.parametrize("error", [NotSentError("x"), AnswerLostError("x")], ids=["unsent", "lost"])
def test_no_answer_is_an_outage(error):
    snooze = judge.no_answer(error, 0, lambda: 0.5)
    assert (snooze.reason, snooze.is_failure) == (Reason.OUTAGE, True)
    assert 0.2 <= snooze.seconds <= 0.5


@pytest.mark.parametrize("status", [302, 401, 408, 410, 429])
def test_an_answer_below_500_says_that_nothing_was_done(status):
    assert judged(status).effect is Effect.NONE


@pytest.mark.parametrize("status", [500, 501, 503])
def test_a_server_error_of_klaviyos_says_that_the_request_has_ended(status):
    assert judged(status).effect is Effect.ENDED


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_after_a_server_error_of_the_edge_klaviyo_may_still_be_at_it(status):
    assert judged(status).effect is Effect.OPEN


@pytest.mark.parametrize(
    ("error", "effect"), [(NotSentError("x"), Effect.NONE), (AnswerLostError("x"), Effect.OPEN)]
)
def test_without_an_answer_klaviyo_may_still_be_at_what_was_sent(error, effect):
    assert judge.no_answer(error, 0, lambda: 0.5).effect is effect
