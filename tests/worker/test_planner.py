"""Planners: one a lane, whichever process it is in, and nothing lost when Redis dies under it."""

from __future__ import annotations

import threading
from itertools import count

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from klaviyo_relay import Identify, Settings
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.intake import Intake


def test_two_planners_share_the_lanes_and_double_nothing(house, sandbox, tracks):
    sandbox.configure(latency_seconds=0.02)
    house.enqueue(*tracks(3_000), *(Identify(email=f"p{n}@shop.io") for n in range(200)))
    planners = [house.planner, house.make_planner()]
    done = threading.Event()

    def work(planner):
        while not done.is_set():
            for lane in ("events", "profiles"):
                planner.deliver("default", lane)

    threads = [threading.Thread(target=work, args=(planner,)) for planner in planners]
    for thread in threads:
        thread.start()
    try:
        sandbox.wait(events=3_000, profiles=3_000, timeout=30)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    house.work_off()
    assert sandbox.summary()["duplicates_discarded"] == 0
    assert house.numbers("events") == {"delivered": 3_000}
    assert house.numbers("profiles") == {"delivered": 200}


def test_a_lane_with_a_planner_has_no_second_one(house, tracks, sandbox):
    house.enqueue(*tracks(10))
    house.redis.set(house.keys.lane("default", "events").lease, b"another's", px=10_000)
    assert house.planner.deliver("default", "events") is False
    assert house.numbers("events") == {"backlog": 10}


def test_a_drained_planner_begins_nothing(house, tracks):
    house.enqueue(*tracks(10))
    house.planner.drain()
    assert house.planner.deliver("default", "events") is False
    assert house.numbers("events") == {"backlog": 10}


def test_a_planner_that_is_closed_leaves_redis_alone(house, tracks, heartbeats):
    house.enqueue(*tracks(10))
    house.work_off()
    assert heartbeats()
    house.planner.close()
    assert not heartbeats()


def test_a_planner_that_lost_its_lease_writes_nothing(house, sandbox, tracks, until):
    sandbox.configure(latency_seconds=0.5)
    house.enqueue(*tracks(10))
    thread = threading.Thread(target=house.planner.deliver, args=("default", "events"))
    thread.start()
    lease = house.keys.lane("default", "events").lease
    until(lambda: house.redis.exists(lease))
    house.redis.set(lease, b"another's", px=2_000)
    thread.join(20)
    assert house.numbers("events") == {"backlog": 10}
    sandbox.configure(latency_seconds=0.0)
    house.redis.delete(lease)
    house.work_off()
    assert sandbox.summary()["events"] == 10


def test_redis_killed_in_the_middle_loses_nothing(sandbox, tracks, until, house_of):
    sandbox.configure(latency_seconds=0.05)
    with PrivateRedis() as server:
        house = house_of(Settings(redis_url=server.url))
        # What Redis itself may lose in its last second is not ours to keep.
        house.redis.config_set("appendfsync", "always")
        house.enqueue(*tracks(4_000), *(Identify(email=f"p{n}@shop.io") for n in range(500)))
        over = threading.Event()

        def work():
            while not over.is_set():
                for lane in ("events", "profiles"):
                    try:
                        house.planner.deliver("default", lane)
                    except RedisError:
                        over.wait(0.05)  # as the Celery task does: the doorbell rings again

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for arrived in (1, 2_000):
                sandbox.wait(events=arrived, timeout=20)
                server.kill()
                server.start()
            until(lambda: not over.is_set() and _rests(house), 40)
        finally:
            over.set()
            thread.join(30)
        assert house.status.report()["lost"] == 0
        assert house.dead() == []
        assert sandbox.summary()["events"] == 4_000
        assert len(sandbox.profiles()) == 4_000


def _rests(house):
    try:
        return house.is_at_rest()
    except RedisError:
        return False


def test_what_klaviyo_has_answered_is_settled_though_redis_fails_meanwhile(
    house, sandbox, tracks, monkeypatch
):
    # The planner meets the fault while it reads on; the requests in flight come back after it.
    sandbox.configure(latency_seconds=0.3)
    house.enqueue(*tracks(3_000))
    real, reads = Intake.fill, count()

    def fails_later(intake, now):
        if next(reads):
            raise RedisConnectionError("away")
        real(intake, now)

    monkeypatch.setattr(Intake, "fill", fails_later)
    house.planner.deliver("default", "events")
    delivered = house.numbers("events")["delivered"]
    assert delivered == sandbox.summary()["events"] >= 1_000
    monkeypatch.setattr(Intake, "fill", real)
    house.work_off()
    assert sandbox.summary()["duplicates_discarded"] == 0
