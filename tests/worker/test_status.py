"""Status: the numbers that anyone can check, and `lost`, which must be 0."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import Identify, Producer, Settings, Track
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker import status
from klaviyo_relay_worker.breaker import Breakers
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Failure, Following, Parked
from klaviyo_relay_worker.status import Status, spool_report
from settled_lanes import SettledLane
from spool_files import EVENTS, closed_to_us, left_behind


@pytest.fixture
def report(redis, keys):
    return Status(redis, keys).report


@pytest.fixture
def lane(redis, keys):
    return Lane(redis, keys, "default", "profiles")


def test_an_empty_redis_has_nothing_and_has_lost_nothing(report):
    assert report() == {"accounts": {}, "lost": 0, "surplus": 0}


def test_every_place_is_counted(redis, keys, relay_settings, report):
    people = [Identify(email=f"p{n}@x.io") for n in range(8)]
    Producer(relay_settings).enqueue_many(people, bulk=False)
    settled = SettledLane(redis, keys, "profiles")
    entries = settled.read()
    outcomes = [
        Delivered(), Delivered(), Dead(Failure()), Dropped("r"), Parked(1e9, "x"), Following("J", 0)
    ]  # fmt: skip
    by_key = {entry.key: one for entry, one in zip(entries, outcomes, strict=False)}
    settled.lane.settle(settled.lease, entries, by_key, time.time())
    found = report()["accounts"]["default"]["lanes"]["profiles"]
    expected = {
        "accepted": 8, "delivered": 2, "dead": 1, "dropped": 1, "discarded": 0, "backlog": 2,
        "parked": 1, "following": 1, "lost": 0, "breaker": "closed", "paused": False,
        "in_delivery": True, "waits_for": "", "dropped_by_rule": {"r": 1},
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert 0 <= found["oldest_seconds"] < 10


def test_lanes_belong_to_their_accounts(relay_settings, report):
    producer = Producer(relay_settings)
    producer.enqueue_many([Track(metric="M", email="a@x.io")], account="eu", bulk=True)
    producer.enqueue_many([Identify(email="a@x.io")], bulk=False)
    accounts = report()["accounts"]
    assert {name: list(one["lanes"]) for name, one in accounts.items()} == {
        "default": ["profiles"], "eu": ["events:bulk"]
    }  # fmt: skip


def test_a_command_that_vanished_is_lost(redis, relay_settings, lane, report):
    Producer(relay_settings).enqueue_many([Identify(email="a@x.io")], bulk=False)
    redis.delete(lane.keys.stream)
    assert report()["lost"] == 1


@pytest.fixture
def seen(redis, keys, relay_settings, report):
    """Breakers, and what the report says of a lane that they hold."""
    Producer(relay_settings).enqueue_many([Identify(email="a@x.io")], bulk=False)
    breakers = Breakers(redis, keys)
    return breakers, lambda: report()["accounts"]["default"]["lanes"]["profiles"]


@pytest.mark.parametrize(
    ("failures", "wait", "breaker", "waits_for"),
    [(2, 9, "closed", ""), (3, 9, "open", "outage"), (3, 0, "half-open", "outage")],
    ids=["two", "three", "three, time is up"],
)
def test_the_breaker_is_open_after_three_outages_in_a_row(seen, failures, wait, breaker, waits_for):
    breakers, lane = seen
    for _ in range(failures):
        breakers.failed("default", "profiles", time.monotonic() + 0.5, wait)
    assert (lane()["breaker"], lane()["waits_for"]) == (breaker, waits_for)
    assert lane()["paused"] is False


def test_a_lane_that_snoozes_says_why(seen, lane):
    lane.snooze(time.time(), time.time() + 9, "quota", 0)
    assert (seen[1]()["waits_for"], seen[1]()["breaker"]) == ("quota", "closed")


@pytest.mark.parametrize("family", ["", "profiles", "events"])
@pytest.mark.parametrize("reason", ["unauthorized", "person"])
def test_a_pause_is_said_with_its_reason(seen, family, reason):
    breakers, lane = seen
    breakers.pause("default", family, reason, 30)
    is_paused = family != "events"
    assert lane()["paused"] is is_paused
    assert lane()["paused_because"] == lane()["waits_for"] == (reason if is_paused else "")


def test_a_lane_that_a_person_paused_says_so(seen, lane):
    lane.pause()
    assert seen[1]()["paused_because"] == "person"
    lane.resume()
    assert seen[1]()["paused"] is False


def test_the_age_is_that_of_the_oldest_entry(redis, keys, report):
    redis.sadd(keys.register, "default:events")
    long_ago = int((time.time() - 100) * 1000)
    redis.xadd(keys.lane("default", "events").stream, {"e": b"{}"}, id=f"{long_ago}-0")
    age = report()["accounts"]["default"]["lanes"]["events"]["oldest_seconds"]
    assert 100 <= age < 110


def test_the_age_is_by_the_clock_that_dates_the_entries(monkeypatch, relay_settings, report):
    Producer(relay_settings).enqueue_many([Identify(email="a@x.io")], bulk=False)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert report()["accounts"]["default"]["lanes"]["profiles"]["oldest_seconds"] < 10


@pytest.mark.parametrize(
    ("numbers", "state"),
    [
        ({}, ("idle", "")),
        ({"backlog": 1, "oldest_seconds": 59.0}, ("ready", "")),
        ({"backlog": 1, "oldest_seconds": 61.0}, ("unserved", "")),
        ({"backlog": 1, "oldest_seconds": 61.0, "in_delivery": True}, ("delivering", "")),
        ({"waits_for": "outage", "in_delivery": True}, ("waits", "outage")),
        ({"paused": True, "paused_because": "person", "waits_for": "x"}, ("paused", "person")),
    ],
    ids=str,
)
def test_a_lane_has_one_word_for_what_it_does(relay_settings, report, numbers, state):
    Producer(relay_settings).enqueue_many([Identify(email="a@x.io")], bulk=False)
    found = report()["accounts"]["default"]["lanes"]["profiles"]
    assert status.state_of({**found, "backlog": 0, **numbers}) == state


def test_the_spool_report_counts_what_redis_has_not(redis, keys, relay_settings, tmp_path):
    away = Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "away")
    producer = Producer(away)
    for _ in range(3):
        producer.track("M", email="a@x.io")
    assert spool_report(away, None) == {"pending": 3, "orphans": 0, "unreadable": 0}
    producer.close(0)
    assert spool_report(away, None) == {"pending": 3, "orphans": 1, "unreadable": 0}
    shipped = Producer(relay_settings)
    shipped.track("M", email="a@x.io")
    assert shipped.flush(10).left == 0
    entrance = LaneEntrance(redis, keys, 10**9)
    assert spool_report(relay_settings, entrance)["pending"] == 0
    shipped.close()


def test_the_spool_report_knows_nothing_of_a_file_that_is_gone(relay_settings, monkeypatch):
    directory = relay_settings.spool_directory
    directory.mkdir(parents=True, exist_ok=True)
    gone = directory / f"{relay_settings.digest}-0123456789ab.spool"
    monkeypatch.setattr(status, "spool_paths", lambda *_: iter([gone]))
    assert spool_report(relay_settings, None) == {"pending": 0, "orphans": 0, "unreadable": 0}
    assert list(directory.iterdir()) == []


def test_the_spool_report_counts_files_that_may_not_be_opened_by_themselves(relay_settings):
    closed_to_us(left_behind(relay_settings, EVENTS))
    left_behind(relay_settings, EVENTS, EVENTS)
    assert spool_report(relay_settings, None) == {"pending": 2, "orphans": 1, "unreadable": 1}


def test_a_namespace_is_counted_by_itself(redis, relay_settings, report):
    other = Settings(redis_url=relay_settings.redis_url, namespace="staging")
    Producer(other).enqueue_many([Identify(email="a@x.io")])
    assert report()["accounts"] == {}
    assert list(Status(redis, other.keys).report()["accounts"]) == ["default"]
