"""Outcomes: Klaviyo's words are kept, whatever shape they come in."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.outcome import Failure, failures_of

WORDS = {
    "id": "1", "status": 409, "code": "duplicate_profile", "title": "Conflict.", "detail": "two",
    "source": {"pointer": "/data/attributes"}, "links": {}, "meta": {"duplicate_profile_id": "01"},
}  # fmt: skip


def test_klaviyos_words_are_kept():
    expected = Failure(
        status=409, code="duplicate_profile", title="Conflict.", detail="two",
        pointer="/data/attributes",
    )  # fmt: skip
    assert failures_of(409, {"errors": [WORDS]}) == [expected]


def test_the_parameter_of_a_query_counts_as_pointer():
    [failure] = failures_of(400, {"errors": [{"source": {"parameter": "filter"}}]})
    assert failure.pointer == "filter"


@pytest.mark.parametrize(
    "document",
    [{}, [], None, "no", {"errors": None}, {"errors": []}, {"errors": ["x", 1]}],
    ids=["empty", "list", "null", "text", "null errors", "no errors", "strange errors"],
)
def test_a_refusal_without_words_still_says_its_status(document):
    [failure] = failures_of(400, document)
    assert failure.status == 400
    assert failure.title


@pytest.mark.parametrize("source", [None, [], "x", {}, {"pointer": None}], ids=str)
def test_an_error_without_a_source_is_understood(source):
    [failure] = failures_of(400, {"errors": [{"detail": "d", "source": source}]})
    assert (failure.detail, failure.pointer) == ("d", "")


def test_a_long_detail_is_cut():
    [failure] = failures_of(400, {"errors": [{"detail": "x" * 100_000}]})
    assert len(failure.detail) == 2000
