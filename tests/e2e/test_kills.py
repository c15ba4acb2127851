"""Workers that die or hang: their lanes go on elsewhere, their supervisor is told."""

from __future__ import annotations

import textwrap
import time

TAKEN_OVER_WITHIN_SECONDS = 10.0


def test_a_killed_workers_lane_is_taken_over_within_ten_seconds(site, sandbox, tracks, until):
    sandbox.configure(latency_seconds=3.0)
    victim = site.worker()
    site.enqueue(*tracks(20_000))
    until(lambda: "delivery.attempted" in victim.log(), 60)
    other = site.worker()
    victim.kill()
    began = time.monotonic()
    lease = site.settings.keys.lane("default", "events").lease
    old = site.redis.get(lease)
    assert old is not None, "killed too late to show anything"
    until(lambda: site.redis.get(lease) not in (None, old), 60, site.logs)
    assert time.monotonic() - began <= TAKEN_OVER_WITHIN_SECONDS
    sandbox.configure(latency_seconds=0.0)
    site.wait_for_rest()
    assert sandbox.summary()["events"] == site.lane("events")["delivered"] == 20_000
    assert other.end() == 0


def test_an_event_whose_settlement_died_with_its_worker_is_once_at_klaviyo(
    site, sandbox, tracks, tmp_path, until
):
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            import os, signal
            from klaviyo_relay_worker.lane import Lane

            Lane.settle = lambda *_arguments, **_named: os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    path = f"{tmp_path}:{site.environment.get('PYTHONPATH', '')}"
    doomed = site.worker(PYTHONPATH=path)
    site.enqueue(*tracks(3), bulk=False)
    assert doomed.process.wait(60) == -9
    assert sandbox.summary()["events"] > 0, "Klaviyo has answered"
    assert site.lane("events")["backlog"] == 3
    worker = site.worker()
    site.wait_for_rest()
    assert sandbox.summary()["events"] == site.lane("events")["delivered"] == 3
    assert sandbox.summary()["duplicates_discarded"] > 0, "sent again with the same unique_id"
    assert worker.end() == 0


def test_a_worker_that_could_deliver_and_does_not_ends_with_exit_code_70(site, tracks, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            from klaviyo_relay_worker.planner import Planner

            Planner.deliver = lambda *_arguments: False
            """
        )
    )
    path = f"{tmp_path}:{site.environment.get('PYTHONPATH', '')}"
    worker = site.worker(PYTHONPATH=path, KLAVIYO_RELAY_STALL_SECONDS="10")
    site.enqueue(*tracks(3))
    assert worker.process.wait(40) == 70
    assert "deliveries stand still: nothing has moved for 10 s in default:events" in worker.log()


def test_a_bisection_with_slow_answers_does_not_hold_up_the_end(site, sandbox, tracks, until):
    sandbox.configure(latency_seconds=1.0)
    sandbox.set_faults([{"action": "refuse", "match": "p77@", "pointer": False}])
    worker = site.worker()
    site.enqueue(*tracks(1_000))
    until(lambda: worker.log().count("delivery.attempted") >= 2, 60)
    began = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - began < 6, "one request of a second, not ten"
    lane = site.lane("events")
    assert lane["backlog"] + lane["delivered"] == 1_000
    assert not lane["in_delivery"]
    assert site.report()["lost"] == 0
