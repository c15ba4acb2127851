"""Events: singly or in bulk, and never a request that Klaviyo must refuse as a whole."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from entries import entry_of
from klaviyo_relay import Track
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer
from klaviyo_relay_worker.outcome import Dead, Delivered
from klaviyo_relay_worker.plan import events
from klaviyo_relay_worker.plan.batch import Part, Situation

REQUEST_MOST_BYTES = 5_000_000


def planned(talk, entries, **situation):
    return events.choose(entries, Situation(now=talk.now, **situation))


@pytest.mark.parametrize("number", [1, 4])
def test_a_few_events_go_singly_and_at_once(talk, tracks, number):
    batches = planned(talk, talk.entries(*tracks(number)))
    assert [batch.endpoint for batch in batches] == [limits.CREATE_EVENT] * number


def test_more_than_a_few_go_in_bulk(talk, tracks):
    entries = talk.entries(*tracks(5))
    [batch] = planned(talk, entries)
    assert (batch.endpoint, list(batch.entries)) == (limits.BULK_CREATE_EVENTS, entries)


def test_a_few_go_in_bulk_while_something_is_in_flight(talk, tracks):
    [batch] = planned(talk, talk.entries(*tracks(2)), is_idle=False)
    assert batch.endpoint == limits.BULK_CREATE_EVENTS
    assert not batch.is_full


def test_nothing_is_planned_for_an_empty_lane(talk):
    assert planned(talk, []) == planned(talk, [], is_idle=False) == []


def test_a_bulk_batch_takes_a_thousand_and_is_full(talk, tracks):
    entries = talk.entries(*tracks(1_001))
    [batch] = planned(talk, entries)
    assert list(batch.entries) == entries[:1_000]
    assert batch.is_full


def test_a_thousand_events_are_one_request_with_one_event_an_entry(talk, tracks):
    [batch] = planned(talk, talk.entries(*tracks(1_000)))
    ledger, [request] = talk.converse(batch, lambda _: talk.answer(202))
    items = talk.body(request)["data"]["attributes"]["events-bulk-create"]["data"]
    assert [len(item["attributes"]["events"]["data"]) for item in items] == [1] * 1_000
    assert request.items == 1_000
    assert set(ledger.outcomes.values()) == {Delivered()}


WHO = st.sampled_from(
    [{"email": "a@x.io"}, {"email": "A@X.io"}, {"phone_number": "+15005550006"},
     {"email": "a@x.io", "phone_number": "+15005550006"}, {"external_id": "e"}]
)  # fmt: skip
TRACKS = st.builds(
    lambda who, metric, unique: Track(metric=metric, unique_id=unique, **who),
    WHO,
    st.sampled_from(["M", "N"]),
    st.sampled_from([None, "1", "2"]),
)


@given(st.lists(TRACKS, min_size=5, max_size=25))
def test_no_request_repeats_a_profile_metric_and_unique_id(commands):
    entries = [entry_of(command, number) for number, command in enumerate(commands)]
    [batch] = events.choose(entries, Situation(now=0.0))
    repeats = [
        (name, entry.command.metric, entry.command.unique_id or entry.envelope.id)
        for entry in batch.entries
        for name in entry.identities
    ]
    assert len(repeats) == len(set(repeats))


@given(st.lists(TRACKS, min_size=5, max_size=25))
def test_repeats_wait_and_everything_goes_in_the_end(commands):
    left = [entry_of(command, number) for number, command in enumerate(commands)]
    while left:
        [batch] = events.choose(left, Situation(now=0.0, is_idle=False))
        assert batch.entries, "a plan that never ends"
        left = [entry for entry in left if entry not in batch.entries]


TEXTS = st.one_of(
    st.sampled_from(["a", "é", "\U0001f600", '"', "\\", "\x01", "\u2028"]),
    st.characters(exclude_categories=["Cs"]),
)


@settings(max_examples=25, phases=[Phase.generate])  # megabytes are not shrunk in a minute
@given(st.lists(st.tuples(TEXTS, st.integers(1, 24_000)), min_size=40, max_size=120))
def test_the_encoded_body_stays_within_five_megabytes(shape):
    # Escapes weigh up to six bytes a character, as in the stored message.
    commands = [
        Track(metric="M", email=f"p{n}@x.io", properties={f"p{i}": text * length for i in range(4)})
        for n, (text, length) in enumerate(shape)
    ]
    left = [entry_of(command, number) for number, command in enumerate(commands)]
    while left:
        [batch] = events.choose(left, Situation(now=0.0, is_idle=False))
        body = events.bulk_request([Part.of(entry) for entry in batch.entries]).body
        assert len(body) <= REQUEST_MOST_BYTES
        left = left[len(batch.entries) :]


def test_a_thousand_small_events_use_the_request_up_to_its_limit_of_bytes(talk):
    entries = talk.entries(
        *(
            Track(metric="M", email=f"p{n}@x.io", properties={"x": "y" * 6_000})
            for n in range(1_000)
        )
    )
    [batch] = planned(talk, entries)
    body = events.bulk_request([Part.of(entry) for entry in batch.entries]).body
    assert 0.95 * REQUEST_MOST_BYTES < len(body) <= REQUEST_MOST_BYTES
    assert batch.is_full


def test_the_largest_event_that_is_accepted_fits_alone(talk):
    room = {f"p{n}": "x" * 98_000 for n in range(49)}
    entry = talk.entry(Track(metric="M", email="a@x.io", properties=room))
    assert len(events.single_request(Part.of(entry)).body) <= REQUEST_MOST_BYTES
    assert len(events.bulk_request([Part.of(entry)]).body) <= REQUEST_MOST_BYTES


def test_id_and_time_are_those_of_the_enqueueing(talk):
    entry = talk.entry(Track(metric="M", email="a@x.io"), at=1_700_000_000.9)
    attributes = talk.body(events.single_request(Part.of(entry)))["data"]["attributes"]
    assert attributes["unique_id"] == entry.envelope.id
    assert attributes["time"] == "2023-11-14T22:13:20+00:00"
    assert attributes["properties"] == {}


def test_what_was_given_travels_unchanged(talk):
    command = Track(
        metric="Placed Order", email="a@x.io", profile_id="01A", anonymous_id="anon",
        value=0, value_currency="USD", time="2026-01-02T03:04:05Z", unique_id="u",
        backfill=False, properties={"n": None, "deep": {"é": [1, 2.5]}},
    )  # fmt: skip
    data = talk.body(events.single_request(Part.of(talk.entry(command))))["data"]
    profile = data["attributes"].pop("profile")
    metric = data["attributes"].pop("metric")
    assert data["attributes"] == {
        "properties": {"n": None, "deep": {"é": [1, 2.5]}}, "time": "2026-01-02T03:04:05Z",
        "unique_id": "u", "value": 0, "value_currency": "USD", "backfill": False,
    }  # fmt: skip
    assert metric["data"]["attributes"] == {"name": "Placed Order"}
    assert profile["data"] == {
        "type": "profile", "id": "01A", "attributes": {"email": "a@x.io", "anonymous_id": "anon"}
    }  # fmt: skip


def test_a_refused_single_event_is_dead_in_klaviyos_words(talk, tracks):
    [batch] = planned(talk, talk.entries(*tracks(1)))
    ledger, _ = talk.converse(batch, lambda _: talk.refusal("/data/attributes/time"))
    [dead] = ledger.outcomes.values()
    assert isinstance(dead, Dead)
    failure = dead.failure
    assert (failure.status, failure.detail, failure.pointer) == (
        400, "is wrong", "/data/attributes/time"
    )  # fmt: skip


POINTER = (
    "/data/attributes/events-bulk-create/data/{}/attributes/events/data/0/attributes/unique_id"
)


def settled(talk, entries, klaviyo):
    """Batch after batch until all have an outcome; the outcomes and the requests."""
    outcomes, requests, singly = {}, [], set()
    while len(outcomes) < len(entries):
        left = [entry for entry in entries if entry.key not in outcomes]
        situation = Situation(now=0.0, is_idle=False, singly=frozenset(singly))
        for batch in events.choose(left, situation):
            ledger, sent = talk.converse(batch, klaviyo)
            outcomes |= ledger.outcomes
            singly |= ledger.singly
            requests += sent
    return list(outcomes.values()), requests


def test_a_bulk_refused_for_a_unique_id_seen_before_is_settled_by_singles(talk, tracks):
    def klaviyo(request) -> Answer:
        if request.items == 6:
            return talk.refusal(POINTER.format(1), POINTER.format(4), detail="Duplicate unique_id.")
        return talk.answer(202)

    outcomes, requests = settled(talk, talk.entries(*tracks(6)), klaviyo)
    assert outcomes == [Delivered()] * 6
    assert [request.items for request in requests] == [6, 4, 1, 1]


@pytest.mark.parametrize("detail", ["Duplicate unique_id.", "No."], ids=["said", "not said"])
def test_a_whole_batch_that_klaviyo_has_already_is_not_taken_apart(talk, tracks, detail):
    def klaviyo(request) -> Answer:
        if request.endpoint == limits.CREATE_EVENT:
            return talk.answer(202)
        return talk.refusal("/data", detail=detail)

    outcomes, requests = settled(talk, talk.entries(*tracks(500)), klaviyo)
    assert outcomes == [Delivered()] * 500
    bulk = [request for request in requests if request.endpoint == limits.BULK_CREATE_EVENTS]
    assert len(bulk) <= 1 + 2 * 9
    assert len(requests) - len(bulk) == 500


def test_a_bad_event_without_a_pointer_is_dead_in_the_single_endpoints_words(talk, tracks):
    def klaviyo(request) -> Answer:
        if b"p3@" not in request.body:
            return talk.answer(202)
        is_single = request.endpoint == limits.CREATE_EVENT
        return talk.refusal("/data", detail="precisely" if is_single else "something")

    outcomes, _ = settled(talk, talk.entries(*tracks(8)), klaviyo)
    [dead] = [found for found in outcomes if isinstance(found, Dead)]
    assert dead.failure.detail == "precisely"


def test_bodies_are_compact_json(talk, tracks):
    [batch] = planned(talk, talk.entries(*tracks(5)))
    _, [request] = talk.converse(batch, lambda _: talk.answer())
    assert request.body == msgspec.json.encode(talk.body(request))
