"""Occupancy: how full Redis is, said once a minute, with what is ours and what is not."""

from __future__ import annotations

import pytest

from klaviyo_relay import Identify, Producer
from klaviyo_relay_worker import occupancy as module
from klaviyo_relay_worker.occupancy import Occupancy, OccupancyReporter, fullest, occupancy


@pytest.fixture
def limit(redis):
    """Sets maxmemory to so many times of what is used; undone afterwards."""
    before = redis.config_get("maxmemory")["maxmemory"]

    def set_to(times):
        used = redis.info("memory")["used_memory"]
        redis.config_set("maxmemory", int(used * times))

    yield set_to
    redis.config_set("maxmemory", before)


@pytest.mark.parametrize(
    ("used", "most", "share", "is_above"),
    [(50, 100, 0.5, False), (80, 100, 0.8, False), (81, 100, 0.81, True), (50, 0, 0.0, False)],
    ids=["half", "at the watermark", "above it", "no limit"],
)
def test_producers_stop_above_the_watermark(used, most, share, is_above):
    found = Occupancy(used, most, 0)
    assert (found.share, found.is_above_watermark) == (share, is_above)


def test_people_are_told_what_is_ours_and_what_is_not():
    text = str(Occupancy(9_000_000, 10_000_000, 2_500_000))
    assert "9.0 MB are 90% of maxmemory, 2.5 MB of them klaviyo-relay's lanes" in text
    assert "6.5 MB foreign keys" in text


def test_the_lanes_are_ours_and_other_keys_are_not(redis, keys, relay_settings):
    redis.set("somebody's", "x" * 1_000_000)
    empty = occupancy(redis, keys)
    people = [Identify(email=f"p{n}@x.io", properties={"x": "y" * 1000}) for n in range(200)]
    Producer(relay_settings).enqueue_many(people)
    assert empty.ours == 0
    assert 200_000 < occupancy(redis, keys).ours < 600_000


def test_a_full_redis_is_complained_of_once_a_minute(redis, keys, limit, caplog):
    reporter = OccupancyReporter(redis, keys)
    reporter.look()
    assert caplog.text == ""
    limit(1.1)
    assert fullest(redis)[1].is_above_watermark
    for _ in range(3):
        reporter.look()
    assert caplog.text.count("Redis is full") == 1


def test_and_again_after_that(redis, keys, limit, caplog, monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_SECONDS", 0.0)
    limit(1.1)
    reporter = OccupancyReporter(redis, keys)
    for _ in range(2):
        reporter.look()
    assert caplog.text.count("Redis is full") == 2
