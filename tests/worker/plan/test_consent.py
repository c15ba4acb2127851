"""Consent: withdrawal goes first, never wider than meant, never undone by what is older."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import Subscribe, Suppress, Unsubscribe, Unsuppress
from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.outcome import Delivered, Dropped, Parked
from klaviyo_relay_worker.plan import consent
from klaviyo_relay_worker.plan.batch import Situation

PHONE = "+15005550006"
OLD = "2024-01-02T03:04:05Z"


def planned(talk, entries, **situation):
    return consent.choose(entries, Situation(**{"now": talk.now, **situation}))


def subscribe(name="a", list_id="AAAAAA", **more):
    return Subscribe(list_id=list_id, email=f"{name}@x.io", **more)


def unsubscribe(name="a", list_id="AAAAAA", **more):
    return Unsubscribe(list_id=list_id, email=f"{name}@x.io", **more)


class Members:
    """A Klaviyo that knows who is on the list."""

    def __init__(self, talk, *emails):
        self.talk, self.emails = talk, emails

    def __call__(self, request):
        if request.endpoint == limits.GET_LIST_PROFILES:
            data = [{"type": "profile", "attributes": {"email": one}} for one in self.emails]
            return self.talk.answer(200, {"data": data})
        return self.talk.answer(202)


def emails(talk, request):
    rows = talk.body(request)["data"]["attributes"]["profiles"]["data"]
    return [row["attributes"]["email"] for row in rows]


def test_unsubscribes_go_before_everything_of_others(talk):
    entries = talk.entries(subscribe("a"), Suppress(email="b@x.io"), unsubscribe("c"))
    assert list(planned(talk, entries)[0].entries) == entries[2:]


def test_an_unsubscribe_never_overtakes_an_earlier_command_of_its_person(talk):
    entries = talk.entries(Suppress(email="a@x.io"), unsubscribe("a", None), subscribe("b"))
    assert list(planned(talk, entries)[0].entries) == entries[:1]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (subscribe(), unsubscribe()),
        (subscribe(), unsubscribe(list_id=None)),
        (subscribe(list_id=None), unsubscribe(list_id=None)),
        (Subscribe(list_name="N", email="a@x.io"), Unsubscribe(list_name="N", email="A@X.io")),
        (
            Subscribe(email="a@x.io", phone_number=PHONE, channels=["sms"]),
            Unsubscribe(phone_number=PHONE),
        ),
    ],
    ids=["same list", "everywhere", "both everywhere", "by name", "one channel"],
)
def test_a_subscribe_that_is_taken_back_is_dropped_unsent(talk, first, then):
    entries = talk.entries(first, then)
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, lambda _: pytest.fail("nothing may be sent"))
    assert requests == []
    assert ledger.outcomes == {entries[0].key: Dropped("superseded")}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (subscribe(), unsubscribe(list_id="BBBBBB")),
        (subscribe(list_id=None), unsubscribe()),
        (subscribe(), unsubscribe("b", None)),
        (
            Subscribe(email="a@x.io", phone_number=PHONE),
            Unsubscribe(email="b@x.io", phone_number=PHONE),
        ),
    ],
    ids=["another list", "of a list only", "another person", "another address"],
)
def test_a_subscribe_that_is_not_taken_back_stays(talk, first, then):
    assert consent.superseded_by_unsubscribe(talk.entries(first, then)) == []


def test_a_subscribe_after_the_unsubscribe_stays(talk):
    assert consent.superseded_by_unsubscribe(talk.entries(unsubscribe(), subscribe())) == []


def test_an_unsubscribe_of_a_list_is_sent_for_members_only(talk):
    entries = talk.entries(unsubscribe("a"), unsubscribe("b"), unsubscribe("c"))
    [batch] = planned(talk, entries)
    ledger, requests = talk.converse(batch, Members(talk, "B@x.io", "a@x.io"))
    assert batch.endpoint == limits.GET_LIST_PROFILES
    [_, sent] = requests
    assert emails(talk, sent) == ["a@x.io", "b@x.io"]
    assert talk.body(sent)["data"]["relationships"]["list"]["data"]["id"] == "AAAAAA"
    kinds = [type(ledger.outcomes[entry.key]) for entry in entries]
    assert kinds == [Delivered, Delivered, Parked]


def test_nothing_is_sent_where_nobody_is_a_member(talk):
    [batch] = planned(talk, talk.entries(unsubscribe("a")))
    _, requests = talk.converse(batch, Members(talk))
    assert [one.endpoint for one in requests] == [limits.GET_LIST_PROFILES]


@pytest.mark.parametrize(
    ("age", "outcome"),
    [(0, Parked), (1_799, Parked), (1_800, Dropped), (9_999, Dropped)],
    ids=["new", "almost half an hour", "half an hour", "old"],
)
def test_a_non_member_is_looked_at_again_for_half_an_hour(talk, age, outcome):
    entry = talk.entry(unsubscribe("a"), at=talk.now - age)
    [batch] = planned(talk, [entry])
    ledger, _ = talk.converse(batch, Members(talk))
    found = ledger.outcomes[entry.key]
    assert isinstance(found, outcome)
    if outcome is Parked:
        assert talk.now < found.until <= talk.now + 60
    else:
        assert found.rule == "not_on_list"


def test_a_refused_lookup_of_members_sends_nothing(talk):
    [batch] = planned(talk, talk.entries(unsubscribe("a")))
    ledger, requests = talk.converse(batch, lambda _: talk.refusal("/data", status=404))
    assert len(requests) == 1
    assert [found.failure.status for found in ledger.outcomes.values()] == [404]


def test_an_unsubscribe_from_everything_looks_nobody_up(talk):
    [batch] = planned(talk, talk.entries(unsubscribe("a", None)))
    ledger, [request] = talk.converse(batch, Members(talk))
    assert request.endpoint == limits.BULK_UNSUBSCRIBE
    assert "relationships" not in talk.body(request)["data"]
    assert list(ledger.outcomes.values()) == [Delivered()]


def test_unsubscribes_of_different_lists_are_different_requests(talk):
    entries = talk.entries(unsubscribe("a"), unsubscribe("b", None), unsubscribe("c"))
    assert list(planned(talk, entries)[0].entries) == [entries[0], entries[2]]


@pytest.mark.parametrize(
    ("make", "most"),
    [(subscribe, 1_000), (unsubscribe, 100), (lambda n: Suppress(email=f"{n}@x.io"), 100)],
    ids=["subscribe", "unsubscribe", "suppress"],
)
def test_requests_take_as_many_as_klaviyo_allows(talk, make, most):
    entries = talk.entries(*(make(f"p{n}") for n in range(most + 1)))
    [batch] = planned(talk, entries)
    assert (len(batch.entries), batch.is_full) == (most, True)


@pytest.mark.parametrize(
    "other",
    [
        subscribe("b", "BBBBBB"),
        subscribe("b", source="shop"),
        subscribe("b", consented_at=OLD),
        Suppress(email="b@x.io"),
    ],
    ids=["list", "source", "historical", "kind"],
)
def test_what_belongs_to_the_job_as_a_whole_is_not_mixed(talk, other):
    entries = talk.entries(subscribe("a"), other, subscribe("c"))
    assert list(planned(talk, entries)[0].entries) == [entries[0], entries[2]]


def test_consent_of_an_earlier_time_is_a_historical_import(talk):
    [batch] = planned(talk, talk.entries(subscribe("a", consented_at=OLD, source="shop")))
    _, [request] = talk.converse(batch, Members(talk))
    attributes = talk.body(request)["data"]["attributes"]
    [row] = attributes["profiles"]["data"]
    assert (attributes["historical_import"], attributes["custom_source"]) == (True, "shop")
    assert row["attributes"]["subscriptions"] == {
        "email": {"marketing": {"consent": "SUBSCRIBED", "consented_at": OLD}}
    }


@pytest.mark.parametrize(
    ("command", "channels"),
    [
        (Subscribe(email="a@x.io"), {"email"}),
        (Subscribe(phone_number=PHONE), {"sms"}),
        (Subscribe(email="a@x.io", phone_number=PHONE), {"email", "sms"}),
        (Subscribe(email="a@x.io", phone_number=PHONE, channels=["sms"]), {"sms"}),
    ],
    ids=["email", "sms", "both", "named"],
)
def test_the_channels_are_those_named_or_those_of_the_identifiers(talk, command, channels):
    [batch] = planned(talk, talk.entries(command))
    _, [request] = talk.converse(batch, Members(talk))
    [row] = talk.body(request)["data"]["attributes"]["profiles"]["data"]
    assert set(row["attributes"]["subscriptions"]) == channels


@pytest.mark.parametrize(
    ("command", "endpoint"),
    [
        (Suppress(email="a@x.io"), limits.BULK_SUPPRESS),
        (Unsuppress(email="a@x.io"), limits.BULK_UNSUPPRESS),
    ],
    ids=["suppress", "unsuppress"],
)
def test_suppressions_are_jobs_of_their_own(talk, command, endpoint):
    [batch] = planned(talk, talk.entries(command))
    ledger, [request] = talk.converse(batch, Members(talk))
    assert (request.endpoint, batch.endpoint) == (endpoint, endpoint)
    assert list(ledger.outcomes.values()) == [Delivered()]


def test_who_is_held_waits(talk):
    entries = talk.entries(unsubscribe("a"), subscribe("b"))
    [batch] = planned(talk, entries, held=frozenset(["email:a@x.io"]))
    assert list(batch.entries) == entries[1:]


def test_an_unknown_list_waits_for_its_creation(talk):
    [batch] = planned(talk, talk.entries(Subscribe(list_name="News", email="a@x.io")))
    ledger, _ = talk.converse(batch, lambda _: talk.answer(200, {"data": []}))
    assert [type(found) for found in ledger.outcomes.values()] == [Parked]


def test_a_backlog_of_ten_thousand_is_planned_in_a_moment(talk):
    kinds = (subscribe, unsubscribe)
    entries = talk.entries(*(kinds[n % 2](f"p{n}") for n in range(10_000)))
    began = time.process_time()
    planned(talk, entries)
    assert time.process_time() - began < 2.0
