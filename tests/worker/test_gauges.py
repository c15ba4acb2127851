"""The gauges: what a scrape says of a real Redis and of one that is away."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from klaviyo_relay import AddToList, Identify, Producer, Settings, Track
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import gauges
from klaviyo_relay_worker.breaker import Breakers
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.gauges import Gauges

LANE = {"account": "default", "lane": "events"}


def scrape(registry):
    return {
        (sample.name.removeprefix("klaviyo_relay_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


@pytest.fixture
def registry_of(monkeypatch):
    """Makes registries that read at each scrape."""
    monkeypatch.setattr(gauges, "READ_EVERY_SECONDS", 0.0)
    clients = []

    def make(settings):
        clients.append(connect(settings.redis_url, answer_seconds=0.5))
        registry = CollectorRegistry()
        registry.register(Gauges(clients[-1], settings))
        return registry

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def scraped(registry_of, relay_settings):
    """What a scrape says now."""
    registry = registry_of(relay_settings)
    return lambda: scrape(registry)


def test_the_gauges_are_the_numbers_of_status(house, scraped, sandbox, tracks):
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    house.enqueue(*tracks(5), Track(metric="poison", email="ada@lovelace.dev"))
    house.enqueue(AddToList(list_name="Nowhere", email="ada@lovelace.dev"))
    house.turn()
    house.enqueue(*tracks(3))
    house.enqueue(Identify(email="ada@lovelace.dev", first_name="Ada"), bulk=True)
    found = scraped()
    for lane, numbers in house.lanes().items():
        for name, number in {
            "backlog": "backlog", "parked": "parked", "following": "following",
            "dead_letters": "dead", "paused": "paused", "lane_accepted_total": "accepted",
            "lane_delivered_total": "delivered", "lane_dropped_total": "dropped",
            "lane_discarded_total": "discarded",
        }.items():  # fmt: skip
            assert found[name, "default", lane] == numbers[number], (name, lane)
    assert found["backlog", "default", "events"] == 3
    assert found["dead_letters", "default", "events"] == 1
    assert found["parked", "default", "lists"] + found["dead_letters", "default", "lists"] == 1
    assert found["backlog", "default", "profiles:bulk"] == 1
    assert 0 <= found["oldest_seconds", "default", "events"] < 30
    assert (found[("redis_up",)], found[("lost",)], found[("surplus",)]) == (1, 0, 0)
    assert found[("redis_memory_used_bytes",)] > 100_000


def test_a_loss_shows(house, scraped, tracks):
    house.enqueue(*tracks(2))
    house.redis.delete(house.keys.lane("default", "events").stream)
    assert scraped()[("lost",)] == 2


@pytest.mark.parametrize(("stored", "lost"), [(499, 1), (501, 0)], ids=["small", "large"])
def test_the_ids_of_a_small_lane_are_looked_at(house, scraped, tracks, stored, lost):
    house.enqueue(*tracks(stored + 1))
    keys = house.keys.lane("default", "events")
    # One lost, and another counted twice: only the ids can tell.
    house.redis.xdel(keys.stream, house.redis.xrange(keys.stream, count=1)[0][0])
    house.redis.hincrby(keys.counts, "delivered", 1)
    found = scraped()
    assert (found[("lost",)], found[("surplus",)]) == (lost, lost)


@pytest.mark.parametrize(("wait", "state"), [(30, 2), (0, 1)], ids=["open", "half-open"])
def test_breakers_show_by_family(house, scraped, tracks, wait, state):
    house.enqueue(*tracks(1))
    assert scraped()["breaker_state", "default", "events"] == 0
    breakers = Breakers(house.redis, house.keys)
    for _ in range(3):
        breakers.failed("default", "events", time.monotonic() + 0.5, wait)
    found = scraped()
    assert found["breaker_state", "default", "events"] == state
    assert found["breaker_state", "account", "default"] == 0


def test_a_pause_shows(house, scraped, tracks):
    house.enqueue(*tracks(1))
    Breakers(house.redis, house.keys).pause("default", "", "unauthorized", 30)
    found = scraped()
    assert found["paused", "default", "events"] == 1
    assert found["breaker_state", "account", "default"] == 2


def test_a_redis_that_goes_away_leaves_no_old_numbers(registry_of, tmp_path):
    with PrivateRedis() as server:
        settings = Settings(redis_url=server.url, spool_dir=tmp_path)
        registry = registry_of(settings)
        producer = Producer(settings)
        producer.enqueue_many([Track(metric="M", email="ada@lovelace.dev")], bulk=False)
        assert scrape(registry)["backlog", "default", "events"] == 1
        server.stop()
        producer.track("M", email="ada@lovelace.dev")
        found = scrape(registry)
        names = {name for name, *_ in found}
        assert names == {"redis_up", "build_info", "spool_pending", "spool_orphans"}
        assert (found[("redis_up",)], found[("spool_pending",)]) == (0, 1)
        server.start()
        assert scrape(registry)["backlog", "default", "events"] >= 1
        assert producer.close(10).left == 0


def test_it_reads_at_most_once_a_second_whoever_asks(redis, relay_settings):
    registry = CollectorRegistry()
    registry.register(Gauges(redis, relay_settings))
    generate_latest(registry)
    asked = redis.info("stats")["total_commands_processed"]
    for _ in range(50):
        generate_latest(registry)
    # The two INFOs themselves, and one reading at most.
    assert redis.info("stats")["total_commands_processed"] - asked < 50


def test_more_accounts_than_the_most_are_left_out_and_counted(
    redis, relay_settings, scraped, monkeypatch
):
    monkeypatch.setattr(gauges, "ACCOUNTS_MOST", 2)
    for account in ("a", "b", "c"):
        Producer(relay_settings).enqueue_many(
            [Track(metric="M", email="ada@lovelace.dev")], account=account, bulk=False
        )
    found = scraped()
    assert found[("accounts_left_out",)] == 1
    assert {labels[1] for name, *labels in found if name == "backlog"} == {"events"}
    assert {labels[0] for name, *labels in found if name == "backlog"} == {"a", "b"}
