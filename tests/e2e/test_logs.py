"""The log of a real worker: JSON line by line, Celery's own lines as well, and nothing private."""

from __future__ import annotations

import json

import pytest

from klaviyo_relay import AddToList, Identify, Track, Unsubscribe
from plain_shops import PlainShop

# Marks that stand in what is sent, and nowhere else.
MARKS = ("ada@", "lovelace", "analyticalengine", "countess", "15005550006", "pk_e2e", "poison")


@pytest.fixture
def everything(site, sandbox):
    """Lets a worker meet good and bad commands by every way in, marks in all that is private."""

    def send():
        sandbox.set_faults([{"action": "refuse", "match": "poison"}, {"status": 503, "times": 1}])
        who = {"email": "ada@lovelace.dev"}
        properties = {"analyticalengine": "analyticalengine"}
        site.enqueue(
            Track(
                metric="analyticalengine", phone_number="+15005550006", properties=properties, **who
            ),
            Track(metric="poison", **who),
            Identify(title="Countess", **who),
            AddToList(list_name="Countess", **who),
            Unsubscribe(**who),
        )
        with PlainShop(site.settings.redis_url) as shop:
            for name, more in {
                "track": {"metric": "analyticalengine", "properties": properties},
                "identify": {"colour": "Countess"},
                "trakc": {"metric": "analyticalengine"},
            }.items():
                shop.send(name, **who, **more)
            shop.send("track", "analyticalengine")

    return send


def is_settled(site):
    """Three dead letters (the poison, two of the door), and the good ones delivered."""
    numbers = {name: site.lane(name) for name in ("events", "profiles", "consent")}
    return all(numbers.values()) and len(site.dead()) == 3 and numbers["events"]["delivered"] == 2


@pytest.mark.parametrize("form", ["json", "console"])
def test_at_every_level_nothing_private_is_said(site, everything, until, form):
    worker = site.worker("--log-level", "debug", KLAVIYO_RELAY_LOG_FORMAT=form)
    everything()
    until(lambda: is_settled(site), 60, worker.log)
    worker.says("Received unregistered task")
    assert worker.end() == 0
    log = worker.log()
    assert "delivery.attempted" in log
    assert "delivery.settled" in log
    for mark in MARKS:
        assert mark not in log.lower(), mark


def test_each_line_is_an_object_celerys_as_well(site, everything, until):
    worker = site.worker("--log-level", "debug")
    everything()
    until(lambda: is_settled(site), 60, worker.log)
    assert worker.end() == 0
    lines = [json.loads(line) for line in worker.log().splitlines()]
    assert all({"timestamp", "level", "logger", "event"} <= set(line) for line in lines)
    attempts = [line for line in lines if line["event"] == "delivery.attempted"]
    asked = sum(sum(seen.values()) for seen in site.sandbox.summary()["requests"].values())
    assert len(attempts) == asked
    loggers = {line["logger"].partition(".")[0] for line in lines}
    assert {"celery", "klaviyo_relay_worker"} <= loggers
    assert sorted({line["outcome"] for line in attempts}) == ["answered", "outage"]


def test_it_says_with_what_it_begins(site):
    worker = site.worker("--log-format", "console")
    worker.says("begins with WorkerSettings(")
    assert site.settings.redis_url not in worker.log(), "it has a password"
    assert worker.end() == 0
