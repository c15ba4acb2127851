"""`klaviyo-relay worker`: real processes, real Redis, a real application's calls."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest

from klaviyo_relay import Identify, Producer, Track
from klaviyo_relay_worker.embedded import PrivateRedis


def test_what_an_application_tracks_arrives_soon(site, sandbox):
    worker = site.worker()
    producer = Producer(site.settings)
    identity = producer.track(
        "Placed Order", email="ada@lovelace.dev", value=9.5, profile={"first_name": "Ada"}
    )
    sandbox.wait(events=1, profiles=1, timeout=20)
    [event] = sandbox.events()
    assert (event["unique_id"], event["value"]) == (identity, 9.5)
    site.wait_for_rest()
    [profile] = sandbox.profiles()
    assert profile["first_name"] == "Ada"
    producer.close()
    assert worker.end() == 0
    for secret in ("lovelace", "pk_e2e", site.settings.redis_url.split("@")[0].split(":")[-1]):
        assert secret not in worker.log()


def test_two_workers_share_the_work_and_double_nothing(site, sandbox, tracks):
    sandbox.configure(latency_seconds=0.1)
    # One lane at a time each, so that neither can take all three.
    alone = ("--concurrency", "1")
    first, second = site.worker(*alone, is_ready=False), site.worker(*alone)
    first.says(" ready.")
    site.enqueue(*tracks(5_000))
    site.enqueue(*(Identify(email=f"p{n}@shop.io", first_name="A") for n in range(2_000)))
    site.enqueue(*(Track(metric="M", email=f"p{n}@shop.io") for n in range(2_000)), bulk=True)
    site.wait_for_rest()
    assert sandbox.summary()["events"] == 7_000
    assert sandbox.summary()["duplicates_discarded"] == 0
    assert site.lane("events")["delivered"] == 5_000
    assert all("delivery.attempted" in worker.log() for worker in (first, second))
    assert [first.end(), second.end()] == [0, 0]


def test_a_killed_workers_backlog_is_finished_by_the_others(site, sandbox, tracks, until):
    sandbox.configure(latency_seconds=1.0)
    workers = [site.worker(is_ready=False), site.worker()]
    site.enqueue(*tracks(20_000))
    [victim] = until(lambda: [one for one in workers if "delivery.attempted" in one.log()])
    victim.kill()
    assert site.lane("events")["backlog"] > 0, "killed too late to show anything"
    workers = [one for one in workers if one is not victim] + [site.worker(is_ready=False)]
    sandbox.configure(latency_seconds=0.0)
    until(site.is_at_rest, 60, site.logs)
    assert site.report()["lost"] == 0
    assert sandbox.summary()["events"] == site.lane("events")["delivered"] == 20_000
    for worker in workers:
        worker.says(" ready.")
        assert worker.end() == 0


def test_sigterm_finishes_what_is_in_flight_and_begins_nothing(site, sandbox, tracks, until):
    sandbox.configure(latency_seconds=0.7)
    worker = site.worker()
    site.enqueue(*tracks(20_000))
    until(lambda: site.lane("events").get("in_delivery") and site.lane("events")["delivered"])
    assert worker.end() == 0
    lane = site.lane("events")
    assert 0 < lane["backlog"] < 20_000
    assert lane["delivered"] == sandbox.summary()["events"]
    assert not lane["in_delivery"], "the lease must be given back"
    assert site.report()["lost"] == 0


def test_a_worker_outlives_a_restart_of_redis(site_of, sandbox, tracks, until):
    with PrivateRedis() as server:
        site = site_of(server.url)
        site.redis.config_set("appendfsync", "always")
        worker = site.worker()
        site.enqueue(*tracks(500))
        site.wait_for_rest()
        sandbox.configure(latency_seconds=0.3)
        site.enqueue(*tracks(3_000))
        until(lambda: site.lane("events")["in_delivery"])
        server.kill()
        server.start()
        site.wait_for_rest(40)
        assert worker.process.poll() is None
        assert sandbox.summary()["events"] == 3_500
        assert worker.end() == 0


def test_a_worker_waits_for_a_redis_and_says_so(site_of, sandbox):
    with PrivateRedis() as server:
        server.stop()
        site = site_of(server.url)
        worker = site.worker(is_ready=False)
        worker.says("waiting for Redis at redis://:***@127.0.0.1")
        server.start()
        worker.says(" ready.")
        site.enqueue(Track(metric="M", email="a@shop.io"))
        sandbox.wait(events=1, timeout=60)
        assert worker.end() == 0
        assert worker.log().count("waiting for Redis") == 1


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_an_application_installs_the_relay_in_its_own_celery_app(site, sandbox, tmp_path, pool):
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(
            """
            import os
            from celery import Celery
            from klaviyo_relay_worker.app import install

            app = Celery("shop", broker=os.environ["KLAVIYO_RELAY_REDIS_URL"])
            app.conf.broker_connection_retry_on_startup = True
            install(app)
            """
        )
    )
    queues = ["-Q", "klaviyo,klaviyo.deliver", "--pool", pool, "--concurrency", "2", "-l", "INFO"]
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", *queues]
    if pool == "prefork":
        # A child that is forked by a measured process may hang; see `environment.unmeasured`.
        command = ["env", "-u", "COVERAGE_PROCESS_CONFIG", *command]
    worker = site.worker(command=command, PYTHONPATH=str(tmp_path))
    site.enqueue(*(Track(metric="M", email=f"p{n}@shop.io") for n in range(50)))
    sandbox.wait(events=50, timeout=60)
    site.wait_for_rest()
    assert worker.end() == 0


def test_celery_itself_runs_the_app(site, sandbox):
    queues = ["-Q", "klaviyo,klaviyo.deliver", "--pool", "threads", "-l", "INFO"]
    command = [sys.executable, "-m", "celery", "-A", "klaviyo_relay_worker.app", "worker", *queues]
    worker = site.worker(command=command)
    site.enqueue(Track(metric="M", email="a@shop.io"))
    sandbox.wait(events=1, timeout=60)
    site.wait_for_rest()
    assert worker.end() == 0


def test_an_interrupt_from_the_keyboard_ends_it_as_well(site):
    worker = site.worker()
    worker.send(signal.SIGINT)
    assert worker.process.wait(60) == 0
