"""The ladder, before a simulated judge: the good go out, the bad are refused, few requests more."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entries import entry_of
from klaviyo_relay import Identify
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Dead, Delivered, Failure, failures_of
from klaviyo_relay_worker.plan.batch import Ledger, Part
from klaviyo_relay_worker.plan.ladder import Bulk, blamed_items, refuse

IDENTIFY = Identify(email="a@x.io")


def parts_of(number):
    return [Part.of(entry_of(IDENTIFY, n)) for n in range(number)]


class Judge:
    """Refuses a request as a whole for one bad item; names the items if it has pointers."""

    def __init__(self, bad, *, has_pointers, names_most=None):
        self.bad, self.has_pointers, self.names_most = bad, has_pointers, names_most
        self.requests = 0
        self._parts = ()

    def build(self, parts):
        self._parts = parts
        return Request(endpoint="POST /api/x", path="/api/x", items=len(parts))

    def answer(self):
        self.requests += 1
        bad = [at for at, part in enumerate(self._parts) if part.entries[0].key in self.bad]
        if not bad:
            return Answer(202, {}, b"")
        pointers = [f"/data/attributes/profiles/data/{at}/attributes/email" for at in bad]
        if not self.has_pointers:
            pointers = ["/data"]
        errors = [
            {"code": "invalid", "detail": "bad", "source": {"pointer": pointer}}
            for pointer in pointers[: self.names_most]
        ]
        return Answer(400, {}, msgspec.json.encode({"errors": errors}))


def delivered(judge, parts, last_word=refuse, *, most=None):
    """The ledger at the conversation's end, or when it is broken off after `most` answers."""

    def accept(_answer, accepted, ledger):
        ledger.settle_parts(accepted, Delivered())

    ledger = Ledger()
    conversation = Bulk(judge.build, accept, last_word).deliver(parts, ledger)
    request = next(conversation, None)
    while request is not None and judge.requests != most:
        try:
            request = conversation.send(judge.answer())
        except StopIteration:
            break
    return ledger


@st.composite
def cases(draw):
    number = draw(st.integers(1, 300))
    bad = draw(st.sets(st.integers(0, number - 1), max_size=12))
    return number, {f"{n}-0" for n in bad}


@given(cases(), st.sampled_from([(True, None), (True, 1), (False, None)]))
def test_all_good_are_delivered_all_bad_refused_in_few_requests(case, pointers):
    number, bad = case
    judge = Judge(bad, has_pointers=pointers[0], names_most=pointers[1])
    parts = parts_of(number)
    ledger = delivered(judge, parts)
    assert {key for key, found in ledger.outcomes.items() if isinstance(found, Dead)} == bad
    assert len(ledger.outcomes) == number
    assert judge.requests <= 1 + len(bad) * (2 * math.log2(max(number, 2)) + 2)


@given(cases())
def test_pointers_to_all_bad_ones_cost_one_request_more(case):
    number, bad = case
    judge = Judge(bad, has_pointers=True)
    delivered(judge, parts_of(number))
    assert judge.requests <= 1 + bool(bad)


def test_each_answer_that_names_a_bad_one_counts_though_the_conversation_is_broken_off():
    judge = Judge({f"{n}-0" for n in range(200)}, has_pointers=True, names_most=1)
    ledger = delivered(judge, parts_of(1000), most=150)
    assert len(ledger.outcomes) == 150
    assert all(isinstance(found, Dead) for found in ledger.outcomes.values())


def test_as_many_bad_ones_as_a_request_can_carry_may_be_named_one_by_one():
    judge = Judge({f"{n}-0" for n in range(10_000)}, has_pointers=True, names_most=1)
    ledger = delivered(judge, parts_of(10_000), most=1_500)
    assert len(ledger.outcomes) == 1_500


def test_last_words_that_need_no_request_are_settled_before_any_request_goes_out():
    asked = []

    def ask(part, ledger):
        asked.append(set(ledger.outcomes))
        yield Request(endpoint="POST /api/y", path="/api/y")
        ledger.settle(part.entries, Delivered())

    def last_word(part, failure, ledger):
        if part.entries[0].key == "1-0":
            return ask(part, ledger)
        return refuse(part, failure, ledger)

    judge = Judge({"1-0", "3-0"}, has_pointers=True)
    ledger = delivered(judge, parts_of(5), last_word)
    assert asked == [{"3-0"}]
    assert len(ledger.outcomes) == 5


def test_everybody_bad_is_refused_by_one_answer_that_names_them():
    judge = Judge({f"{n}-0" for n in range(5)}, has_pointers=True)
    ledger = delivered(judge, parts_of(5))
    assert judge.requests == 1
    assert all(isinstance(found, Dead) for found in ledger.outcomes.values())


def test_a_fault_of_what_all_share_refuses_all_at_once():
    class Shared(Judge):
        def answer(self):
            self.requests += 1
            error = b'{"errors":[{"source":{"pointer":"/data/relationships/list/data/id"}}]}'
            return Answer(400, {}, error)

    judge = Shared(set(), has_pointers=True)
    ledger = delivered(judge, parts_of(50))
    assert judge.requests == 1
    assert len(ledger.outcomes) == 50


def test_a_body_that_is_too_large_is_halved_until_it_fits():
    class Small(Judge):
        def answer(self):
            self.requests += 1
            return Answer(413 if len(self._parts) > 3 else 202, {}, b"")

    ledger = delivered(Small(set(), has_pointers=False), parts_of(40))
    assert set(ledger.outcomes.values()) == {Delivered()}


@pytest.mark.parametrize(
    ("pointer", "blamed"),
    [
        ("/data/attributes/profiles/data/3/attributes/email", {3}),
        ("/data/attributes/profiles/data/3", {3}),
        (
            "/data/attributes/events-bulk-create/data/0/attributes/events/data/7/attributes/time",
            {0},
        ),
        ("/data/attributes/profiles/data/99/attributes", set()),
        ("/data/attributes/profiles/data/x", set()),
        ("/data", set()),
        ("", set()),
    ],
    ids=["attribute", "item", "event in an entry", "no such item", "no number", "all", "nothing"],
)
def test_pointers_blame_items(pointer, blamed):
    assert set(blamed_items([Failure(pointer=pointer)], 10)) == blamed


def test_the_first_failure_of_an_item_is_its_reason():
    document = {
        "errors": [
            {"detail": "first", "source": {"pointer": "/data/attributes/profiles/data/1/a"}},
            {"detail": "second", "source": {"pointer": "/data/attributes/profiles/data/1/b"}},
        ]
    }
    assert blamed_items(failures_of(400, document), 2)[1].detail == "first"
