"""Lanes on a Redis Cluster: every path through them, and a primary killed under load."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from redis.exceptions import RedisError

from klaviyo_relay import AddToList, DeleteProfile, Identify, Producer, Subscribe, Track
from klaviyo_relay.errors import BackpressureError
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect, node_of, nodes_of
from klaviyo_relay_worker.gauges import Gauges

KEYS = Keys()


@pytest.fixture
def site(cluster, own_redis, site_of):
    """A site whose lanes are in the cluster, and Celery's broker elsewhere."""
    made = site_of(cluster.url)
    made.environment["KLAVIYO_RELAY_CELERY_BROKER_URL"] = own_redis.url
    return made


def test_all_verbs_go_through_a_cluster_and_people_see_what_became_of_them(site, sandbox, until):
    sandbox.configure(import_delay_seconds=0.2)
    site.enqueue(
        Track(metric="Placed Order", email="ada@lovelace.dev"),
        Identify(email="ada@lovelace.dev", first_name="Ada"),
        *(Identify(email=f"p{at}@shop.io", first_name="P") for at in range(300)),
        AddToList(list_id="AAAAAA", email="ada@lovelace.dev"),
        Subscribe(list_id="AAAAAA", email="ada@lovelace.dev"),
    )
    worker = site.worker()
    until(lambda: site.lane("events").get("delivered") == 1, 60, site.logs)
    until(lambda: site.lane("profiles").get("delivered") == 301, 60, site.logs)
    status = site.run("status", "--audit")
    assert status.returncode == 0, status.stderr
    assert "lost: 0" in status.stdout
    check = site.run("check")
    assert check.stdout.count("the append-only file is on") == 3, check.stdout + check.stderr
    assert site.run("pause", "default").returncode == 0
    site.enqueue(Track(metric="Placed Order", email="b@shop.io"))
    assert site.report()["accounts"]["default"]["lanes"]["events"]["paused_because"] == "person"
    assert site.run("resume", "default").returncode == 0
    until(lambda: site.lane("events")["delivered"] == 2, 60, site.logs)
    site.enqueue(DeleteProfile(email="ada@lovelace.dev"))
    until(lambda: site.lane("privacy").get("parked"), 60, site.logs)
    assert "no dead letter" in site.run("dead", "list").stderr
    assert "Traceback" not in site.logs()
    assert worker.end() == 0


def test_a_primary_killed_under_load_loses_nothing_and_deliveries_go_on(
    site, cluster, sandbox, load_at, until
):
    worker = site.worker()
    victim = cluster.primary_of(KEYS.lane("default", "events").stream)
    with load_at(site) as load:
        sandbox.wait(events=50, timeout=60)
        victim.kill()
        seconds = load.seconds_to_next_delivery()
        print("seconds until the next delivery:", round(seconds, 2))  # noqa: T201 - shown by pytest -s
        # And once more, back to the first one.
        victim.start()
        until(cluster.is_well, 60)
        load.wait_for_all()
    assert worker.process.poll() is None
    assert worker.end() == 0


def test_with_any_primary_killed_what_was_settled_and_what_waits_add_up(
    site, cluster, sandbox, until
):
    sandbox.configure(latency_seconds=0.05)
    worker = site.worker()
    producer = Producer(site.settings)
    for victim in cluster.nodes[: cluster.PRIMARIES]:
        for at in range(200):
            producer.track("Placed Order", email=f"{victim.port}-{at}@shop.io")
            producer.identify(email=f"{victim.port}-{at}@shop.io", first_name="P")
        victim.kill()
        until(lambda victim=victim: cluster.is_well(without=victim), 60)
        victim.start()
        until(cluster.is_well, 60)
    until(lambda: sandbox.summary()["events"] == 600, 60, site.logs)
    producer.close()
    site.wait_for_rest(60)
    report = site.report()
    assert (report["lost"], report["surplus"]) == (0, 0)
    assert worker.end() == 0


def test_without_a_broker_of_its_own_the_worker_and_check_say_what_to_do(cluster, site_of):
    site = site_of(cluster.url)
    for command, code in (("worker", 2), ("check", 1)):
        said = site.run(command)
        assert said.returncode == code
        assert "KLAVIYO_RELAY_CELERY_BROKER_URL is unset" in said.stdout + said.stderr
        assert "RabbitMQ" in said.stdout + said.stderr


def test_a_client_of_a_cluster_that_stands_still_waits_no_longer_than_it_says(cluster):
    with connect(cluster.url, answer_seconds=0.5) as client:
        client.set("one", "1")
        for node in cluster.nodes:
            node.pause()
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(RedisError):
                client.get("one")
            assert time.monotonic() - began < 3 * (2 * 0.5 + 0.2)
        for node in cluster.nodes:
            node.resume()

        assert client.get("one") == b"1"


def test_a_node_that_is_full_keeps_its_own_lanes_waiting_and_no_others(cluster):
    with connect(cluster.url) as client:
        lanes = [KEYS.lane("default", name) for name in ("events", "profiles", "lists", "consent")]
        full = node_of(client, lanes[0].stream)
        other = next(one for one in lanes if node_of(client, one.stream) is not full)
        full.config_set("maxmemory", 1)
        entrance = LaneEntrance(client, KEYS, 10**9)

        assert not entrance.survey().is_full
        with pytest.raises(BackpressureError, match="watermark"):
            entrance.ship("default:events", "s", [(1, b'{"id":"1"}')])
        assert entrance.ship(other.name, "s", [(1, b'{"id":"1"}')]).added == 1


def test_a_slot_on_its_way_to_another_node_is_found_at_either(cluster):
    with connect(cluster.url) as client:
        stream = KEYS.lane("default", "events").stream
        entrance = LaneEntrance(client, KEYS, 10**9)
        entrance.ship("default:events", "s", [(1, b'{"id":"1"}')])
        source = cluster.primary_of(stream)
        target = next(n for n in cluster.nodes[: cluster.PRIMARIES] if n is not source)
        slot = source.ask("CLUSTER KEYSLOT", stream)
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.ask("CLUSTER MYID"))
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", target.ask("CLUSTER MYID"))

        assert client.exists("kr:{default:events}:other") == 0  # asked at the target
        assert entrance.mark("default:events", "s") == 1
        keys = source.ask("CLUSTER GETKEYSINSLOT", slot, 100)
        moved = source.ask(
            *("MIGRATE", "127.0.0.1", target.port, "", 0, 2000, "AUTH", "geheim", "KEYS", *keys)
        )
        assert moved == b"OK"
        pipeline = client.pipeline(transaction=False)
        pipeline.xlen(stream)
        assert pipeline.execute() == [1]  # ASK
        for node in (target, source):
            node.ask("CLUSTER SETSLOT", slot, "NODE", target.ask("CLUSTER MYID"))
        pipeline.xlen(stream)
        assert pipeline.execute() == [1]  # MOVED
        assert entrance.ship("default:events", "s", [(2, b'{"id":"2"}')], 1).added == 1


def test_a_single_server_is_no_cluster_and_the_error_says_so(own_redis):
    with (
        connect(own_redis.url.replace("redis://", "redis+cluster://")) as client,
        pytest.raises(RedisError, match="cluster support disabled"),
    ):
        client.ping()


def test_a_lane_that_the_register_lost_is_written_into_it_again(site, cluster, sandbox, until):
    worker = site.worker()
    site.enqueue(Track(metric="Placed Order", email="a@shop.io"))
    sandbox.wait(events=1, timeout=60)
    site.redis.delete(KEYS.register)
    until(lambda: site.redis.smembers(KEYS.register) == {b"default:events"}, 60, site.logs)
    assert worker.end() == 0


def test_connecting_to_a_cluster_asks_nobody_before_it_is_used():
    script = (
        "from klaviyo_relay.redis_clients import connect;"
        "connect('redis+cluster://127.0.0.1:1,127.0.0.1:2')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)


def test_metrics_are_read_from_all_nodes(site, cluster):
    site.enqueue(Track(metric="Placed Order", email="a@shop.io"))
    for node in cluster.nodes:
        node.ask("CONFIG SET", "maxmemory", 10**9)
    found = {
        family.name: {tuple(one.labels.values()): one.value for one in family.samples}
        for family in Gauges(site.redis, site.settings).collect()
    }
    assert found["klaviyo_relay_redis_up"] == {(): 1}
    assert found["klaviyo_relay_backlog"] == {("default", "events"): 1}
    assert found["klaviyo_relay_quota_used_ratio"]["default", "POST /api/events"] == 0
    assert found["klaviyo_relay_redis_memory_max_bytes"] == {(): 10**9}


def test_every_primary_of_a_cluster_is_surveyed(cluster):
    with connect(cluster.url) as client:
        assert len(nodes_of(client)) == cluster.PRIMARIES
        before = LaneEntrance(client, KEYS, 10**9).survey().incarnation
        assert len(before.split()) == cluster.PRIMARIES
