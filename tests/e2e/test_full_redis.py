"""A full Redis (maxmemory, noeviction) stops nothing for ever: not the broker, not the lanes."""

from __future__ import annotations

import signal
import sys

import pytest
from redis.exceptions import OutOfMemoryError

from klaviyo_relay import Producer, Track
from klaviyo_relay.lane_entrance import WATERMARK
from klaviyo_relay_worker.embedded import PrivateRedis
from plain_shops import PlainShop

MEGABYTE = 1_000_000
# What a server uses without any data, and a little room.
ROOM = 3 * MEGABYTE


@pytest.fixture
def site(own_redis, site_of):
    return site_of(own_redis.url)


def limit(site, room):
    """Leave so many bytes of memory free."""
    site.redis.config_set("maxmemory", max(1, site.redis.info("memory")["used_memory"] + room))


def remove_foreign_keys(site):
    for name in site.redis.scan_iter("foreign:*", count=1_000):
        site.redis.delete(name)


def is_full(site):
    try:
        site.redis.set("probe", b"1")
    except OutOfMemoryError:
        return True
    site.redis.delete("probe")
    return False


def fill_with_foreign_keys(site):
    """Until Redis refuses to take more."""
    for number in range(100_000):
        try:
            site.redis.set(f"foreign:{number}", b"x" * 5_000)
        except OutOfMemoryError:
            return
    raise AssertionError("Redis has no limit")


def test_filled_by_our_own_backlog_it_is_drained_by_a_worker_that_starts_on_it(
    site, sandbox, until
):
    limit(site, 8 * MEGABYTE)
    most = int(site.redis.config_get("maxmemory")["maxmemory"])
    producer = Producer(site.settings)
    for number in range(20_000):
        producer.track("Placed Order", email=f"p{number}@shop.io", properties={"note": "n" * 400})
    until(lambda: site.redis.info("memory")["used_memory"] > WATERMARK * most)
    # The limit comes down on what is there: Redis refuses every plain write.
    limit(site, -MEGABYTE)
    assert is_full(site)
    before = site.lane("events")["accepted"]
    assert 0 < before < 20_000, "the spool must keep the rest"
    worker = site.worker()
    until(lambda: sandbox.summary()["events"] >= before, 60, site.logs)
    until(lambda: sandbox.summary()["events"] == 20_000, 40, site.logs)
    site.wait_for_rest()
    assert site.lane("events")["delivered"] == 20_000
    assert worker.process.poll() is None
    producer.close()
    assert worker.end() == 0


def test_filled_by_foreign_keys_it_is_complained_of_and_used_again_once_there_is_room(
    site, sandbox, until, tracks
):
    worker = site.worker(KLAVIYO_RELAY_STALL_SECONDS="12")
    site.enqueue(*tracks(10))
    site.wait_for_rest()
    limit(site, ROOM)
    fill_with_foreign_keys(site)
    producer = Producer(site.settings)
    for number in range(50):
        producer.track("Placed Order", email=f"late{number}@shop.io")
    worker.says("Redis is full", 20)
    worker.says("MB foreign keys")
    found = site.run("check")
    assert "Redis is full" in found.stdout
    assert (sandbox.summary()["events"], worker.process.poll()) == (10, None)
    remove_foreign_keys(site)
    until(lambda: sandbox.summary()["events"] == 60, 60, site.logs)
    site.wait_for_rest()
    assert worker.log().count("Redis is full") == 1, "once a minute is enough"
    producer.close()
    assert worker.end() == 0


def test_what_is_in_the_lanes_goes_out_while_redis_is_full(site, sandbox, until, tracks):
    site.enqueue(*tracks(3_000))
    site.redis.config_set("maxmemory", 1)
    worker = site.worker()
    site.wait_for_rest()
    assert is_full(site)
    assert sandbox.summary()["events"] == 3_000
    assert "this process delivers by itself" in worker.log()
    assert worker.end() == 0


def test_a_celery_message_that_is_popped_in_a_full_redis_is_not_lost(site, sandbox, until):
    worker = site.worker()
    worker.send(signal.SIGSTOP)
    with PlainShop(site.settings.redis_url) as shop:
        for number in range(20):
            shop.send("track", metric="M", email=f"p{number}@shop.io")
    site.redis.config_set("maxmemory", 1)
    worker.send(signal.SIGCONT)
    until(lambda: site.redis.hlen("unacked") >= 16)
    assert sandbox.summary()["events"] == 0, "commands may not enter a full Redis"
    site.redis.config_set("maxmemory", 0)
    until(lambda: sandbox.summary()["events"] == 20, 60, worker.log)
    site.wait_for_rest()
    until(lambda: not site.redis.hlen("unacked"))
    assert worker.end() == 0


def test_lanes_are_delivered_while_celerys_own_broker_is_down(site, sandbox, until, tracks):
    with PrivateRedis() as broker:
        worker = site.worker(KLAVIYO_RELAY_CELERY_BROKER_URL=broker.url)
        broker.kill()
        site.enqueue(*tracks(100))
        site.wait_for_rest()
        site.enqueue(Track(metric="M", email="more@shop.io"), bulk=False)
        until(lambda: sandbox.summary()["events"] == 101, 60, worker.log)
        assert worker.process.poll() is None
        broker.start()
        worker.says("Connected to")
        assert worker.end() == 0


def test_lanes_are_delivered_while_nobody_consumes_the_wake_up_calls(site, sandbox, until, tracks):
    queues = ["-Q", "klaviyo", "--pool", "threads"]
    command = [sys.executable, "-m", "celery", "-A", "klaviyo_relay_worker.app", "worker", *queues]
    deaf = site.worker(command=[*command, "-l", "INFO"])
    site.enqueue(*tracks(100))
    until(lambda: sandbox.summary()["events"] == 100, 60, deaf.log)
    assert "nobody has answered Celery's wake-up calls for default:events" in deaf.log()
    assert deaf.end() == 0
