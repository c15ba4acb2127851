"""The lookout: when a lane wants a planner, and when it does not."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import Producer, Track
from klaviyo_relay_worker.breaker import WHOLE_ACCOUNT, Breakers
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lookout import Lookout
from klaviyo_relay_worker.outcome import Delivered, Parked
from settled_lanes import SettledLane

NAME = "default:events"
LANE = ("default", "events")


@pytest.fixture
def lookout(redis, keys):
    return Lookout(redis, keys)


@pytest.fixture
def backlog(relay_settings):
    """Two commands wait in the lane."""
    tracks = [Track(metric="M", email="ada@lovelace.dev")] * 2
    Producer(relay_settings).enqueue_many(tracks, bulk=False, timeout=10)


def test_a_lane_without_commands_wants_nothing(lookout):
    seen = lookout.look(NAME)
    assert (seen.wants_at, seen.wants_now, seen.wants_in, seen.has_planner) == (
        [],
        False,
        None,
        False,
    )


@pytest.mark.usefixtures("backlog")
def test_a_backlog_is_wanted_at_once(lookout):
    seen = lookout.look(NAME)
    assert (seen.wants_now, seen.wants_in) == (True, None)


@pytest.mark.usefixtures("backlog")
def test_what_is_parked_is_wanted_when_it_is_due(lookout, redis):
    due = time.time() + 60
    with SettledLane(redis) as settled:
        settled.settle(Parked(due, "unknown_list"))
    seen = lookout.look(NAME)
    assert not seen.wants_now
    assert seen.wants_in == pytest.approx(60, abs=2)


@pytest.mark.usefixtures("backlog")
def test_a_snooze_puts_everything_off(lookout, redis, keys):
    redis.hset(keys.lane(*LANE).state, "until", f"{time.time() + 30:.3f}")
    assert lookout.look(NAME).wants_in == pytest.approx(30, abs=2)


@pytest.mark.usefixtures("backlog")
def test_a_snooze_of_a_clock_that_was_set_back_since_puts_nothing_off(lookout, redis, keys):
    ahead = time.time() + 600
    Lane(redis, keys, *LANE).snooze(ahead, ahead + 5, "throttled", 1)
    assert lookout.look(NAME).wants_now


@pytest.mark.usefixtures("backlog")
def test_a_lane_that_a_person_paused_wants_nothing(lookout, redis, keys):
    lane = Lane(redis, keys, *LANE)
    lane.pause()
    assert lookout.look(NAME).wants_at == []
    lane.resume()
    assert lookout.look(NAME).wants_now


@pytest.mark.usefixtures("backlog")
def test_a_lane_with_a_planner_is_wanted_when_its_lease_ends(lookout, redis, keys):
    redis.set(keys.lane(*LANE).lease, "somebody", px=9_000)
    seen = lookout.look(NAME)
    assert seen.has_planner
    assert not seen.wants_now
    assert seen.wants_in == pytest.approx(9, abs=2)


@pytest.mark.usefixtures("backlog")
def test_a_lease_without_an_end_is_never_taken_over(lookout, redis, keys):
    redis.set(keys.lane(*LANE).lease, "a test")
    seen = lookout.look(NAME)
    assert (seen.has_planner, seen.wants_at) == (True, [])


@pytest.mark.usefixtures("backlog")
@pytest.mark.parametrize("family", ["events", WHOLE_ACCOUNT])
def test_an_open_breaker_puts_everything_off(lookout, redis, keys, family):
    breakers = Breakers(redis, keys)
    for _ in range(3):
        breakers.failed("default", family, time.monotonic() + 0.5, 20.0)
    assert lookout.look(NAME).wants_in == pytest.approx(20, abs=2)


@pytest.mark.usefixtures("backlog")
def test_progress_differs_only_if_something_was_done(lookout, redis):
    before = lookout.look(NAME).progress
    assert lookout.look(NAME).progress == before
    with SettledLane(redis) as settled:
        # The oldest stays where it is.
        settled.settle(Delivered(), settled.read()[1:])
    assert lookout.look(NAME).progress != before


@pytest.mark.usefixtures("backlog")
def test_a_register_that_fell_back_is_filled_again(lookout, redis, keys):
    lookout.note("shop:profiles")
    assert lookout.names() == [NAME, "shop:profiles"]
    redis.delete(keys.register)
    assert lookout.names() == [NAME, "shop:profiles"]
    assert redis.smembers(keys.register) == {NAME.encode(), b"shop:profiles"}
