"""The two canonical events, as a real planner raises them, and listeners that misbehave."""

from __future__ import annotations

import logging

import pytest

from klaviyo_relay import AddToList, Identify, Track, Unsubscribe
from klaviyo_relay_worker.outcome import (
    Dead,
    Delivered,
    Dropped,
    Failure,
    Following,
    Parked,
)
from klaviyo_relay_worker.telemetry.event import DeliveryAttempted, Settled, Telemetry, settled
from klaviyo_relay_worker.telemetry.log import log


@pytest.fixture
def heard(house):
    """All events of the house's planner."""
    events = []
    house.listen(events.append)
    return events


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def became(events):
    totals = {}
    for event in of(events, Settled):
        key = (event.lane, event.outcome, event.cause)
        totals[key] = totals.get(key, 0) + event.commands
    return totals


def test_every_request_is_told_once(house, heard, sandbox, tracks):
    house.enqueue(*tracks(1_200), Identify(email="ada@lovelace.dev", first_name="Ada"))
    house.work_off()
    attempts = of(heard, DeliveryAttempted)
    by_endpoint = {}
    for event in attempts:
        by_endpoint[event.endpoint] = by_endpoint.get(event.endpoint, 0) + 1
    assert by_endpoint == {
        endpoint: sum(statuses.values())
        for endpoint, statuses in sandbox.summary()["requests"].items()
    }
    assert {event.outcome for event in attempts} == {"answered"}
    assert {(event.host, event.port) for event in attempts} == {
        ("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
    }
    assert all(event.seconds > 0 and event.began_at > 1.7e9 for event in attempts)


def test_what_became_of_commands_is_told_with_its_cause(house, heard, sandbox, tracks):
    list_id = sandbox.create_list("News")
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    house.enqueue(
        *tracks(3),
        Track(metric="poison", email="ada@lovelace.dev"),
        AddToList(list_id="NOLIST", email="ada@lovelace.dev"),
        Unsubscribe(list_id=list_id, email="stranger@lovelace.dev"),
    )
    house.turn()
    codes = {letter.failure.code for letter in house.dead()}
    assert codes
    found = became(heard)
    numbers = {lane: house.numbers(lane) for lane in ("events", "lists", "consent")}
    for lane, counted in numbers.items():
        for place in ("delivered", "dead", "dropped", "parked"):
            told = sum(n for (one, what, _), n in found.items() if (one, what) == (lane, place))
            assert told == counted.get(place, 0), (lane, place)
    assert {cause for (_, what, cause) in found if what == "dead"} == codes
    assert all(cause for (_, what, cause) in found if what in ("parked", "dropped"))


def test_an_outage_is_told_with_its_status(house, heard, sandbox, tracks):
    sandbox.set_faults([{"status": 503, "times": 1}])
    house.enqueue(*tracks(1))
    house.turn()
    [event] = of(heard, DeliveryAttempted)
    assert (event.status, event.outcome, event.items) == (503, "outage", 1)


def test_a_message_that_is_no_envelope_is_told_as_dead(house, heard):
    house.redis.sadd(house.keys.register, "default:events")
    house.redis.xadd(house.keys.lane("default", "events").stream, {"e": b"{"})
    house.turn()
    assert became(heard) == {("events", "dead", "unreadable"): 1}


def test_a_listener_that_fails_harms_neither_a_delivery_nor_the_others(
    house, tracks, caplog, sandbox
):
    def fail(event):
        raise RuntimeError(type(event).__name__)

    events = []
    house.listen(fail, events.append)
    house.enqueue(*tracks(20))
    house.work_off()
    assert house.numbers("events") == {"delivered": 20}
    assert sandbox.summary()["events"] == 20
    assert became(events) == {("events", "delivered", ""): 20}
    assert "a telemetry listener failed" in caplog.text


def test_outcomes_that_are_alike_are_one_event():
    outcomes = [
        Delivered(), Delivered(), Following("J", 0), Parked(1e9, "server_error"),
        Dead(Failure(status=400, code="invalid")), Dead(Failure(status=404)), Dead(Failure()),
        Dropped("forgotten"),
    ]  # fmt: skip
    found = {
        (one.outcome, one.cause): one.commands for one in settled("default", "events", outcomes)
    }
    assert found == {
        ("delivered", ""): 2,
        ("following", ""): 1,
        ("parked", "server_error"): 1,
        ("dead", "invalid"): 1,
        ("dead", "http_404"): 1,
        ("dead", "other"): 1,
        ("dropped", "forgotten"): 1,
    }


@pytest.mark.parametrize("code", ["ada@lovelace.dev", "x\ny", "a b", "é", "x" * 65, "{}"])
def test_a_code_that_is_no_word_is_not_passed_on(code):
    [event] = settled("default", "events", [Dead(Failure(status=400, code=code))])
    assert event.cause == "other"


def test_the_log_has_a_line_and_the_same_as_keys(caplog):
    attempted = DeliveryAttempted(
        account="eu", lane="events", endpoint="POST /api/events", items=1, status=202,
        seconds=0.12345, outcome="answered",
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        Telemetry(log).tell(attempted)
        Telemetry(log).settled("eu", "events", [Dead(Failure(status=400, code="invalid"))])
    first, second = caplog.records
    assert first.getMessage() == (
        "delivery.attempted eu:events POST /api/events items=1 status=202 seconds=0.123 answered"
    )
    assert (first.action, first.account, first.seconds) == ("delivery.attempted", "eu", 0.123)
    assert (second.action, second.cause, second.commands) == ("delivery.settled", "invalid", 1)
    assert (first.levelname, second.levelname) == ("INFO", "WARNING")
