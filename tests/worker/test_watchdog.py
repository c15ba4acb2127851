"""The watchdog: bites when a lane could be delivered and is not, and at nothing else."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from klaviyo_relay import Identify
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import doorbell as doorbells
from klaviyo_relay_worker import judge
from klaviyo_relay_worker import watchdog as module
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.watchdog import Watchdog
from waiting import for_a_while

LANE = ("default", "events")
STALL_SECONDS = 0.3


@pytest.fixture
def doorbell(house, redis_url, monkeypatch):
    """Its thread looks often, and whatever it rings is lost."""
    monkeypatch.setattr(doorbells, "SWEEP_SECONDS", 0.05)
    client = connect(redis_url)
    bell = Doorbell(client, house.keys, lambda _account, _lane: None)
    bell.start()
    yield bell
    bell.stop()
    bell._thread.join(10)
    client.close()


@pytest.fixture
def watchdog(house, doorbell):
    return Watchdog(
        house.redis,
        house.keys,
        doorbell,
        lambda: house.planner,
        stall_seconds=STALL_SECONDS,
        end=None,
    )


def finds(watchdog, seconds=STALL_SECONDS * 3, turn=lambda: None):
    """What it finds, looking for a while, in which `turn` is what a planner does."""
    for _ in for_a_while(seconds):
        turn()
        found = watchdog.look()
        if found is not None:
            return found
    return None


def test_a_lane_with_work_that_nobody_takes_is_a_stall(watchdog, house, tracks):
    house.enqueue(*tracks(3))
    assert "default:events" in finds(watchdog)


@pytest.mark.parametrize(
    "why",
    [
        lambda house, lane: house.redis.delete(lane.stream),
        lambda house, lane: house.redis.hset(lane.state, "until", f"{time.time() + 30:.3f}"),
        lambda house, lane: house.redis.hset(lane.state, "paused", b"1"),
        lambda house, lane: house.redis.set(lane.lease, b"another's", px=30_000),
        lambda house, lane: house.planner.accounts._settings.api_keys.clear(),
        lambda house, lane: house.planner.accounts.breakers.pause("default", "", "person"),
        lambda house, lane: house.planner.accounts.breakers.pause("default", "events", "x", 30),
    ],
    ids=[
        "idle",
        "snoozing",
        "paused",
        "in delivery",
        "no key here",
        "account paused",
        "behind an open breaker",
    ],
)
def test_no_stall_is_a_lane_that_is(watchdog, house, tracks, why):
    house.enqueue(*tracks(3))
    why(house, house.keys.lane(*LANE))
    assert finds(watchdog) is None


def test_a_lane_whose_commands_wait_for_a_parked_one_is_no_stall(
    watchdog, house, sandbox, monkeypatch, until
):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    sandbox.set_faults([{"status": 500, "match": "poison"}])
    house.enqueue(
        *(Identify(email=f"p{n}@shop.io") for n in range(5)),
        Identify(email="a@shop.io", append={"tags": "poison"}),
        Identify(email="a@shop.io", first_name="Ada"),
    )
    wanted = {"delivered": 5, "parked": 1, "backlog": 1}
    until(lambda: house.turn() or house.numbers("profiles") == wanted)
    assert finds(watchdog, turn=house.turn) is None


def test_a_lane_in_which_something_moves_is_no_stall(watchdog, house, tracks):
    house.enqueue(*tracks(3))
    counts = house.keys.lane(*LANE).counts
    for _ in for_a_while(STALL_SECONDS * 3):
        house.redis.hincrby(counts, "delivered", 1)
        assert watchdog.look() is None


def test_a_doorbell_that_is_stuck_is_found(watchdog, doorbell, monkeypatch):
    goes_on = threading.Event()

    def hang():
        goes_on.wait(20)
        return doorbells.SWEEP_SECONDS

    monkeypatch.setattr(doorbell, "sweep", hang)
    assert "stuck" in finds(watchdog, 5)
    goes_on.set()


def test_a_doorbell_that_is_dead_is_found(watchdog, house):
    watchdog._doorbell = Doorbell(house.redis, house.keys, lambda _account, _lane: None)
    assert "dead" in finds(watchdog)


def test_leases_that_nobody_renews_are_found(watchdog, house):
    lease = Lease("kr:{default:events}:lease")
    house.planner.leases._held[lease.token] = lease
    assert "renews" in finds(watchdog)
    house.planner.leases._held.clear()


def test_a_turn_that_does_not_end_is_found(watchdog, house, monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS_MOST", 0.1)
    lease = house.planner.leases.take("kr:{default:events}:lease")
    assert "has not ended" in finds(watchdog)
    house.planner.leases.release(lease)


def test_what_it_says_names_lanes_and_threads_and_nothing_private(
    watchdog, house, tracks, caplog, until
):
    house.enqueue(*tracks(3))
    with caplog.at_level(logging.CRITICAL):
        watchdog.start()
        until(lambda: caplog.records, 10)
        watchdog.stop()
        watchdog._thread.join(5)
    said = caplog.text
    assert "default:events" in said
    assert "klaviyo-relay-doorbell at" in said
    assert "shop.io" not in said
