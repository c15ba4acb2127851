"""Clearance: no batch goes without a thread, a place in flight and quota."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay_worker import clearance as module
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.limits import CREATE_EVENT, DELETE_PROFILE, RATE_LIMITS
from klaviyo_relay_worker.outcome import Reason, Snooze
from klaviyo_relay_worker.plan.batch import Batch, decided
from klaviyo_relay_worker.turn import IN_FLIGHT_MOST
from rooms import ACCOUNT, Rooms

BATCH = Batch(CREATE_EVENT, (), lambda _: iter(()))


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(**more):
        made.append(Rooms(redis, "events", **more))
        return made[-1].__enter__()

    yield make
    for one in made:
        one.__exit__()


@pytest.fixture
def rooms(rooms_of):
    return rooms_of()


def send(rooms, number=1):
    for _ in range(number):
        rooms.flights.send(Errand(BATCH, lambda _: None))


def use_quota_up(rooms, seconds):
    rooms.accounts.quota.throttled(ACCOUNT, CREATE_EVENT, seconds)


def test_each_batch_that_is_cleared_has_its_quota_reserved(rooms):
    deletion = Batch(DELETE_PROFILE, (), lambda _: iter(()))
    burst = RATE_LIMITS[DELETE_PROFILE].second
    assert [rooms.clearance.clear(deletion) for _ in range(burst + 1)] == [True] * burst + [False]


def test_so_many_are_in_flight_and_no_more(rooms):
    assert rooms.clearance.is_idle
    send(rooms, IN_FLIGHT_MOST)
    assert not rooms.clearance.is_idle
    assert not rooms.clearance.is_open
    assert not rooms.clearance.clear(BATCH)


def test_what_needs_no_request_needs_no_quota(rooms):
    use_quota_up(rooms, 60)
    assert rooms.clearance.clear(decided([]))
    assert not rooms.clearance.clear(BATCH)
    assert not rooms.clearance.clear(decided([])), "nothing is planned until there is quota again"


def test_a_short_wait_for_quota_is_waited_in_place(rooms):
    use_quota_up(rooms, 0.3)
    assert not rooms.clearance.clear(BATCH)
    began = time.monotonic()
    assert rooms.clearance.wait_in_place(has_waiting=True)
    assert time.monotonic() - began > 0.1
    assert rooms.turn.snooze is None
    assert rooms.clearance.clear(BATCH)


def test_for_a_long_one_the_lane_snoozes(rooms):
    use_quota_up(rooms, 30)
    assert not rooms.clearance.clear(BATCH)
    assert not rooms.clearance.wait_in_place(has_waiting=True)
    assert rooms.turn.snooze.reason == Reason.QUOTA
    assert module.IDLE_PATIENCE_SECONDS < rooms.turn.snooze.seconds <= 30


def test_a_lane_that_must_wait_anyway_does_not_wait_in_place(rooms):
    use_quota_up(rooms, 1)
    rooms.clearance.clear(BATCH)
    rooms.turn.wait(Snooze(5.0, "outage"))
    assert not rooms.clearance.wait_in_place(has_waiting=True)
    assert rooms.turn.snooze.reason == "outage"


def test_where_nothing_was_refused_there_is_nothing_to_wait_for(rooms):
    assert not rooms.clearance.wait_in_place(has_waiting=True)
    assert rooms.turn.snooze is None


def test_another_plan_forgets_the_wait_of_the_one_before(rooms):
    use_quota_up(rooms, 1)
    rooms.clearance.clear(BATCH)
    rooms.clearance.begin()
    assert not rooms.clearance.wait_in_place(has_waiting=True)


def test_a_full_share_of_the_senders_is_waited_for_if_something_could_go(rooms_of):
    rooms = rooms_of(places=1)
    rooms.senders.submit(ACCOUNT, rooms.courier.deliver, BATCH)  # another turn's
    assert rooms.clearance.is_idle
    assert not rooms.clearance.clear(BATCH)
    assert not rooms.clearance.wait_in_place(has_waiting=False)
    assert rooms.clearance.wait_in_place(has_waiting=True)
    assert rooms.turn.snooze is None
    rooms.courier.land(BATCH)
