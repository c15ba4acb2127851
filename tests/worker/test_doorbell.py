"""The doorbell: rings once for much work, sweeps up what nobody rang for, survives Redis."""

from __future__ import annotations

import threading
import time

import pytest

from klaviyo_relay import Producer, Settings, Track
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import doorbell as module
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.embedded import PrivateRedis

NAME = "default:events"
LANE = ("default", "events")


class Rings:
    """What the doorbell asked for."""

    def __init__(self):
        self.heard = []
        self.fails = False

    def __call__(self, account, lane):
        self.heard.append((account, lane))
        if self.fails:
            raise OSError("the broker is away")


@pytest.fixture
def rings():
    return Rings()


@pytest.fixture
def doorbell(redis, keys, rings):
    """Not started: its sweep is called by hand."""
    return Doorbell(redis, keys, rings)


@pytest.fixture
def running(redis_url, keys, rings):
    client = connect(redis_url)
    bell = Doorbell(client, keys, rings)
    bell.start()
    yield bell
    bell.stop()
    client.close()


def put_in(redis, keys, name=NAME):
    redis.sadd(keys.register, name)
    redis.xadd(keys.lane(*name.split(":", 1)).stream, {"e": b"{}"})


def test_rings_are_deduplicated_until_answered(doorbell, rings):
    for _ in range(5):
        doorbell.ring(NAME)
    assert rings.heard == [LANE]
    doorbell.answered(NAME)
    doorbell.ring(NAME)
    assert rings.heard == [LANE, LANE]


def test_a_ring_that_nobody_answers_is_rung_again(doorbell, rings, until, monkeypatch):
    monkeypatch.setattr(module, "RUNG_SECONDS", 0.1)
    doorbell.ring(NAME)
    until(lambda: (doorbell.ring(NAME), len(rings.heard) >= 2)[1], 5)


def test_a_sweep_rings_for_a_backlog(doorbell, rings, redis, keys):
    put_in(redis, keys)
    put_in(redis, keys, "eu:profiles:bulk")
    doorbell.sweep()
    assert sorted(rings.heard) == [LANE, ("eu", "profiles:bulk")]


@pytest.mark.parametrize("due_in", [-1.0, 0.4], ids=["due", "soon"])
def test_a_sweep_rings_for_what_is_due_and_wakes_in_time(doorbell, rings, redis, keys, due_in):
    redis.sadd(keys.register, NAME)
    redis.zadd(keys.lane(*LANE).due, {"id": int((time.time() + due_in) * 1000)})
    wait = doorbell.sweep()
    assert rings.heard == ([LANE] if due_in < 0 else [])
    assert wait <= (module.SWEEP_SECONDS if due_in < 0 else due_in)


def test_a_sweep_leaves_an_empty_lane_alone(doorbell, rings, redis, keys):
    redis.sadd(keys.register, NAME)
    assert doorbell.sweep() <= module.SWEEP_SECONDS
    assert rings.heard == []


@pytest.mark.parametrize(
    "why",
    [
        lambda redis, lane: redis.set(lane.lease, b"somebody"),
        lambda redis, lane: redis.hset(lane.state, "until", f"{time.time() + 30:.3f}"),
        lambda redis, lane: redis.hset(lane.state, "paused", b"1"),
    ],
    ids=["has a planner", "snoozes", "is paused"],
)
def test_a_sweep_does_not_ring_for_a_lane_that(doorbell, rings, redis, keys, why):
    put_in(redis, keys)
    why(redis, keys.lane(*LANE))
    doorbell.sweep()
    assert rings.heard == []


def test_a_snooze_that_ends_soon_is_waited_for_exactly(doorbell, redis, keys):
    put_in(redis, keys)
    redis.hset(keys.lane(*LANE).state, "until", f"{time.time() + 0.3:.3f}")
    assert doorbell.sweep() <= 0.301  # the time is kept in whole milliseconds


def test_shipping_rings_at_once(running, rings, relay_settings, redis, keys, until):  # noqa: PLR0917 - fixtures
    until(lambda: redis.pubsub_numsub(keys.doorbell)[0][1])
    Producer(relay_settings).enqueue_many([Track(metric="M", email="a@x.io")], bulk=False)
    began = time.monotonic()
    until(lambda: LANE in rings.heard, 5)
    assert time.monotonic() - began < module.SWEEP_SECONDS / 2


def test_a_broker_that_is_away_is_rung_at_again(running, rings, redis, keys, until):
    rings.fails = True
    put_in(redis, keys)
    until(lambda: len(rings.heard) >= 2, 15)


def test_it_goes_on_after_a_restart_of_redis(keys, rings, until):
    with PrivateRedis() as server:
        client = connect(server.url)
        bell = Doorbell(client, keys, rings)
        bell.start()
        until(lambda: client.pubsub_numsub(keys.doorbell)[0][1])
        server.kill()
        server.start()
        other = connect(server.url)
        put_in(other, keys)
        until(lambda: LANE in rings.heard, 15)
        bell.answered(NAME)
        rings.heard.clear()
        redis_settings = Settings(redis_url=server.url)
        Producer(redis_settings).enqueue_many([Track(metric="M", email="a@x.io")], timeout=10)
        until(lambda: ("default", "events:bulk") in rings.heard, 15)
        bell.stop()
        client.close()
        other.close()


def test_stopping_ends_the_thread(redis_url, keys, rings):
    client = connect(redis_url)
    bell = Doorbell(client, keys, rings)
    bell.start()
    bell.stop()
    assert not any(t is bell._thread for t in threading.enumerate())
    client.close()
