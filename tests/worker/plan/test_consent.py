"""Consent: withdrawal goes first, never wider than meant, never undone by what is older."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from klaviyo_relay import Subscribe, Suppress, Unsubscribe, Unsuppress
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.outcome import Delivered, Dropped, Parked
from klaviyo_relay_worker.plan import consent
from klaviyo_relay_worker.plan.batch import Situation
from klaviyo_relay_worker.plan.withdrawals import ConsentFacts, Withdrawals

PHONE = "+15005550006"
OLD = "2024-01-02T03:04:05Z"


def situation_of(talk, entries, **situation):
    """What the planner of these entries knows."""
    withdrawals = Withdrawals()
    withdrawals.note(entries)
    facts = ConsentFacts(withdrawals, situation.pop("joining", frozenset()))
    return Situation(**{"now": talk.now, "facts": facts, **situation})


def planned(talk, entries, **situation):
    return consent.choose(entries, situation_of(talk, entries, **situation))


def superseded(talk, entries, **situation):
    return consent.superseded_entries(entries, situation_of(talk, entries, **situation))


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
    assert superseded(talk, talk.entries(first, then)) == []


def test_a_subscribe_after_the_unsubscribe_stays(talk):
    entries = [talk.entry(unsubscribe()), talk.entry(subscribe(), at=talk.now + 0.001)]
    assert superseded(talk, entries) == []


def test_of_equal_times_the_unsubscribe_wins(talk):
    entries = talk.entries(unsubscribe(), subscribe())
    assert superseded(talk, entries) == entries[1:]


def test_consent_of_an_earlier_time_is_superseded_by_what_came_between(talk):
    entries = [talk.entry(unsubscribe(), at=talk.now - 60), talk.entry(subscribe(consented_at=OLD))]
    assert superseded(talk, entries) == entries[1:]


@pytest.mark.parametrize(
    ("lists", "is_taken_back"),
    [({"News": "AAAAAA"}, True), ({"News": "BBBBBB"}, False), ({}, True)],
    ids=["the same", "another", "nobody knows"],
)
def test_a_list_is_recognised_under_id_and_name(talk, lists, is_taken_back):
    entries = talk.entries(subscribe(), Unsubscribe(list_name="News", email="a@x.io"))
    assert bool(superseded(talk, entries, lists=lists)) is is_taken_back


def test_a_list_that_is_looked_up_is_recognised_before_the_subscribe_is_sent(talk):
    entries = talk.entries(Subscribe(list_name="News", email="a@x.io"), unsubscribe())
    situation = situation_of(talk, entries)
    [batch] = consent.choose(entries[:1], situation)
    ledger, requests = talk.converse(
        batch, lambda _: talk.answer(200, {"data": [{"type": "list", "id": "AAAAAA"}]})
    )
    assert [one.endpoint for one in requests] == [limits.GET_LISTS]
    assert ledger.outcomes == {entries[0].key: Dropped("superseded")}


def test_of_two_channels_only_the_one_that_is_not_withdrawn_is_sent(talk):
    both = Subscribe(list_id="AAAAAA", email="a@x.io", phone_number=PHONE)
    entries = talk.entries(both, Unsubscribe(phone_number=PHONE))
    [batch] = consent.choose(entries[:1], situation_of(talk, entries))
    ledger, [request] = talk.converse(batch, Members(talk))
    [row] = talk.body(request)["data"]["attributes"]["profiles"]["data"]
    assert set(row["attributes"]["subscriptions"]) == {"email"}
    assert ledger.outcomes == {entries[0].key: Delivered()}


def test_what_is_asked_twice_in_the_same_words_is_one_row(talk):
    entries = talk.entries(subscribe("a"), subscribe("b"), subscribe("a"))
    [batch] = planned(talk, entries)
    ledger, [request] = talk.converse(batch, Members(talk))
    assert emails(talk, request) == ["a@x.io", "b@x.io"]
    assert ledger.outcomes == {entry.key: Delivered() for entry in entries}


def test_nothing_is_coalesced_across_another_command_of_the_person(talk):
    entries = talk.entries(subscribe("a"), Suppress(email="a@x.io"), subscribe("a"))
    assert list(planned(talk, entries)[0].entries) == entries[:1]


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


def test_an_address_that_is_no_members_is_not_unsubscribed_with_one_that_is(talk):
    entry = talk.entry(unsubscribe("a", phone_number="+4915112345678"))
    [batch] = planned(talk, [entry])
    ledger, requests = talk.converse(batch, Members(talk, "a@x.io"))
    [row] = talk.body(requests[-1])["data"]["attributes"]["profiles"]["data"]
    assert set(row["attributes"]) == {"email", "subscriptions"}
    assert set(row["attributes"]["subscriptions"]) == {"email"}
    assert isinstance(ledger.outcomes[entry.key], Delivered)


def test_a_member_is_not_unsubscribed_of_a_channel_that_was_not_named(talk):
    both = {"phone_number": "+4915112345678", "channels": ("sms",)}
    entry = talk.entry(unsubscribe("a", **both))
    ledger, requests = talk.converse(planned(talk, [entry])[0], Members(talk, "a@x.io"))
    assert {one.endpoint for one in requests} == {limits.GET_LIST_PROFILES}
    assert isinstance(ledger.outcomes[entry.key], Parked)


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
    entry = replace(talk.entry(unsubscribe("a"), at=talk.now - age), parked_at=talk.now - age)
    [batch] = planned(talk, [entry])
    ledger, _ = talk.converse(batch, Members(talk))
    found = ledger.outcomes[entry.key]
    assert isinstance(found, outcome)
    if outcome is Parked:
        assert talk.now < found.until <= talk.now + 60
    else:
        assert found.rule == "not_on_list"


def test_an_old_unsubscribe_is_looked_at_for_half_an_hour_from_its_first_look(talk):
    entry = talk.entry(unsubscribe("a"), at=talk.now - 9_999)
    ledger, _ = talk.converse(planned(talk, [entry])[0], Members(talk))
    assert isinstance(ledger.outcomes[entry.key], Parked)


def test_a_non_member_who_may_still_join_is_looked_at_again(talk):
    entry = replace(talk.entry(unsubscribe("a"), at=talk.now - 9_999), parked_at=1.0)
    [batch] = planned(talk, [entry], joining=frozenset([entry.key]))
    ledger, _ = talk.converse(batch, Members(talk))
    assert isinstance(ledger.outcomes[entry.key], Parked)


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


def test_what_is_dropped_does_not_wait_for_what_is_in_flight(talk):
    entries = talk.entries(subscribe(), unsubscribe(), subscribe("b"))
    [batch] = planned(talk, entries, is_idle=False)
    assert (batch.endpoint, list(batch.entries), batch.is_full) == ("", entries[:1], True)
    ledger, requests = talk.converse(batch, Members(talk))
    assert requests == []
    assert ledger.outcomes == {entries[0].key: Dropped("superseded")}
