"""Redis killed, restarted and stopped under load: deliveries go on by themselves."""

from __future__ import annotations

import os
import time

import pytest

from klaviyo_relay import Track
from klaviyo_relay_worker.lease import LEASE_SECONDS
from plain_shops import PlainShop
from steady_load import SteadyLoad

# KLAVIYO_RELAY_LONG is read before conftest clears the environment of such names.
LONG = bool(os.environ.get("KLAVIYO_RELAY_LONG"))
ROUNDS = 10 if LONG else 3
GOES_ON_WITHIN_SECONDS = 10.0
# How long Redis stands still is what is tested: longer than every time-out of ours, and longer than
# a lease lasts by Redis's clock and by the worker's.
STILL_SECONDS = 20.0 if LONG else 7.0
LEASE_IS_OVER_SECONDS = 20.0 if LONG else LEASE_SECONDS + 2


@pytest.fixture
def load(own_redis, site_of):
    """A site under load: an application's producer that tracks all the time."""
    site = site_of(own_redis.url)
    # What Redis itself may lose in its last second is not ours to keep.
    site.redis.config_set("appendfsync", "always")
    with SteadyLoad(site, every_seconds=0.005) as running:
        yield running


def test_deliveries_go_on_within_ten_seconds_of_each_restart_under_load(own_redis, load, sandbox):
    sandbox.configure(latency_seconds=0.05)
    worker = load.site.worker()
    pid, seconds = worker.pid, []
    for _ in range(ROUNDS):
        sandbox.wait(events=sandbox.summary()["events"] + 20, timeout=60)
        own_redis.kill()
        own_redis.start()
        seconds.append(round(load.seconds_to_next_delivery(), 2))
        assert worker.process.poll() is None, worker.log()
    print("seconds until the next delivery:", seconds)  # noqa: T201 - shown by pytest -s
    assert max(seconds) <= GOES_ON_WITHIN_SECONDS
    load.wait_for_all()
    assert (worker.pid, worker.process.poll()) == (pid, None)
    assert worker.end() == 0


def test_a_redis_that_stood_still_is_used_again_at_once(own_redis, load, sandbox):
    worker = load.site.worker()
    sandbox.wait(events=20, timeout=60)
    own_redis.pause()
    time.sleep(STILL_SECONDS)
    own_redis.resume()
    assert load.seconds_to_next_delivery() <= GOES_ON_WITHIN_SECONDS
    load.wait_for_all()
    assert worker.process.poll() is None
    assert worker.end() == 0


def test_a_primary_that_became_a_replica_is_left_for_the_one_that_took_over(
    moving, site_of, sandbox
):
    # Celery's broker is there, too.
    with SteadyLoad(site_of(moving.url), every_seconds=0.02) as load:
        worker = load.site.worker()
        sandbox.wait(events=20, timeout=60)
        moving.move()
        assert load.seconds_to_next_delivery() <= GOES_ON_WITHIN_SECONDS
        worker.says("Connection to broker lost")
        load.wait_for_all()
    assert worker.process.poll() is None
    assert worker.end() == 0
    assert "wake-up calls" not in worker.log(), "Celery has carried them"


def test_what_is_at_klaviyo_while_redis_stands_still_is_not_settled_under_a_lost_lease(
    own_redis, site_of, sandbox, tracks, until
):
    site = site_of(own_redis.url)
    sandbox.configure(latency_seconds=2.0)
    worker = site.worker()
    site.enqueue(*tracks(20_000))
    until(lambda: "delivery.attempted" in worker.log())
    own_redis.pause()
    time.sleep(LEASE_IS_OVER_SECONDS)
    arrived = sandbox.summary()["events"]
    own_redis.resume()
    sandbox.configure(latency_seconds=0.0)
    site.wait_for_rest(40)
    assert 0 < arrived < 20_000, "nothing may be sent without time left on the lease"
    assert worker.log().count("delivery.attempted") > 20, "what was not settled is sent again"
    assert sandbox.summary()["events"] == site.lane("events")["delivered"] == 20_000
    assert worker.end() == 0


@pytest.mark.parametrize("attempt", range(12 if LONG else 1))
def test_a_restart_with_a_message_unacknowledged_does_not_end_the_worker(
    own_redis, site_of, sandbox, until, attempt
):
    # celery 5.7.0 with kombu's own transport exits here, 12 times of 12.
    site = site_of(own_redis.url)
    worker = site.worker()
    # The lane takes no more, so the task waits, unacknowledged.
    site.redis.hset(site.settings.keys.lane("default", "events").counts, "bytes", 10**12)
    with PlainShop(own_redis.url) as shop:
        shop.send("track", metric="M", email="a@shop.io")
    until(lambda: site.redis.hlen("unacked"))
    own_redis.kill()
    own_redis.start()
    worker.says("Connection to broker lost")
    site.enqueue(Track(metric="M", email="b@shop.io"), bulk=True)
    sandbox.wait(events=1, timeout=60)
    assert worker.process.poll() is None, worker.log()
    site.redis.hset(site.settings.keys.lane("default", "events").counts, "bytes", 0)
    until(lambda: sandbox.summary()["events"] == 2, 60, worker.log)
    assert worker.end() == 0
