"""Lanes and Celery's broker at a primary that Sentinels name, which is killed and stopped."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress

import pytest
from celery import Celery
from redis.exceptions import RedisError

from klaviyo_relay import Producer, Track, shipment
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.app import create_app
from klaviyo_relay_worker.settings import WorkerSettings
from spool_files import spool_of

KEYS = Keys()
# KLAVIYO_RELAY_LONG is read before conftest clears the environment of such names.
ROUNDS = 5 if os.environ.get("KLAVIYO_RELAY_LONG") else 1


@pytest.fixture
def site(watched, site_of):
    """A site whose lanes and broker are where the Sentinels say."""
    return site_of(watched.url)


def test_a_primary_killed_under_load_loses_nothing_and_another_takes_over(
    site, watched, sandbox, load_at, until
):
    worker = site.worker()
    with load_at(site) as load:
        for _ in range(ROUNDS):
            sandbox.wait(events=sandbox.summary()["events"] + 50, timeout=60)
            victim = watched.primary
            victim.kill()
            seconds = load.seconds_to_next_delivery()
            print("seconds until the next delivery:", round(seconds, 2))  # noqa: T201 - shown by pytest -s
            # For some seconds it takes itself for the primary still.
            victim.start()
            if ROUNDS > 1:
                until(lambda victim=victim: (victim.ask("ROLE") or [b""])[0] == b"slave", 60)
        load.wait_for_all()
    assert worker.process.poll() is None
    assert worker.end() == 0


def test_what_a_cut_off_primary_took_and_lost_is_shipped_again_however_long_ago_that_was(
    site, watched, sandbox, until, monkeypatch
):
    monkeypatch.setattr(shipment, "RESHIP_SECONDS", 0.0)
    stream = KEYS.lane("default", "events").stream
    producer = Producer(site.settings)
    producer.track("Placed Order", email="first@shop.io")
    assert producer.flush(10).left == 0
    old = watched.primary
    others = [node for node in watched.nodes if node is not old]

    # Its replicas hear no more of it, as if they were behind: what it takes now, only it has.
    for node in others:
        node.pause()
    old.ask("CLIENT KILL", "TYPE", "replica")
    for at in range(100):
        producer.track("Placed Order", email=f"p{at}@shop.io")
    assert producer.flush(10).left == 0
    # Whoever asks how Redis is has looked for rows to delete, too.
    looks = looks_at(old)
    until(lambda: looks_at(old) > looks + 3, 60)
    old.kill()
    for node in others:
        node.resume()

    until(lambda: watched.has_another_primary_than(old), 60)
    until(lambda: (watched.primary.ask("XLEN", stream) or 0) == 101, 60)
    worker = site.worker()
    site.wait_for_rest()
    assert sandbox.summary()["events"] == 101
    producer.close()
    assert worker.end() == 0


def looks_at(node):
    with node.client() as client:
        return client.info("commandstats")["cmdstat_info"]["calls"]


def test_what_replicas_have_is_deleted_from_the_spool(site, until, monkeypatch):
    monkeypatch.setattr(shipment, "RESHIP_SECONDS", 0.0)
    producer = Producer(site.settings)
    for at in range(100):
        producer.track("Placed Order", email=f"p{at}@shop.io")
    assert producer.flush(10).left == 0
    with closing(sqlite3.connect(spool_of(producer).path)) as database:
        count = "SELECT count(*) FROM rows"
        until(lambda: database.execute(count).fetchone() == (0,), 60)
    producer.close()


def test_celerys_own_messages_go_where_the_sentinels_say_after_a_failover_too(
    site, watched, sandbox, until
):
    worker = site.worker()
    settings = WorkerSettings(redis_url=watched.url, api_keys={"default": "pk_test"})
    shop = create_app(settings)

    def track(who):
        shop.send_task(
            "klaviyo_relay.track",
            kwargs={"metric": "M", "email": who},
            queue="klaviyo",
            ignore_result=True,
        )

    track("a@shop.io")
    sandbox.wait(events=1, timeout=60)
    old = watched.primary
    old.kill()
    until(lambda: watched.has_another_primary_than(old), 60)
    until(lambda: "celery@" in _inspected(shop), 60, site.logs)
    track("b@shop.io")
    sandbox.wait(events=2, timeout=60)
    shop.close()
    assert worker.process.poll() is None, worker.log()
    assert worker.end() == 0


def _inspected(app: Celery) -> str:
    try:
        return str(app.control.ping(timeout=0.5))
    except Exception as error:  # noqa: BLE001 - whatever it is while nobody has taken over
        return str(error)


def test_sentinels_that_do_not_know_the_name_are_a_clear_error(watched):
    with (
        connect(watched.url.replace("/lanes/", "/others/")) as client,
        pytest.raises(RedisError, match="No master found for 'others'"),
    ):
        client.ping()


def test_a_client_whose_sentinels_stand_still_waits_no_longer_than_it_says(watched):
    for sentinel in watched.sentinels:
        sentinel.pause()
    with connect(watched.url, answer_seconds=0.6) as client:
        began = time.monotonic()
        with pytest.raises(RedisError):
            client.ping()
        # For the connections to the Sentinels, and for their answers.
        assert time.monotonic() - began < 3 * (2 * 0.6 + 0.2)


def test_after_a_failover_the_survey_tells_another_incarnation(watched, until):
    with connect(watched.url) as client:
        before = incarnation_at(client)
        old = watched.primary
        old.kill()
        until(lambda: incarnation_at(client) not in ("", before), 60)


def incarnation_at(client):
    """While Sentinels do not agree yet, none."""
    with suppress(RedisError):
        return LaneEntrance(client, KEYS, 10**9).survey().incarnation
    return ""


def test_check_says_what_a_primary_lacks(site, watched, until):
    said = site.run("check").stdout
    assert "replicas: 2 connected" in said
    assert "set min-replicas-to-write 1" in said
    watched.primary.ask("CONFIG SET", "min-replicas-to-write", 1)
    assert "min-replicas-to-write" not in site.run("check").stdout


def test_commands_of_a_batch_are_in_the_lane_of_the_primary(site, watched):
    site.enqueue(Track(metric="Placed Order", email="a@shop.io"))
    assert watched.primary.ask("XLEN", KEYS.lane("default", "events").stream) == 1
