"""Erasure: a forgotten person's older commands leave every place; newer ones and others stay."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import AddToList, DeleteProfile, Identify, Track
from klaviyo_relay_worker import dead_letters
from klaviyo_relay_worker.dead_letters import DeadLetters
from klaviyo_relay_worker.erasure import Erasure
from klaviyo_relay_worker.outcome import Dead, Failure, Following, Parked
from klaviyo_relay_worker.tombstones import Tombstone
from rooms import ACCOUNT, Rooms

ADA, BOB = "ada@x.io", "bob@x.io"
WHO = f"email:{ADA}"


@pytest.fixture
def lane_of(redis):
    made = []

    def make(lane="profiles"):
        made.append(Rooms(redis, lane))
        return made[-1]

    yield make
    for one in made:
        one.senders.shutdown()


@pytest.fixture
def erasure(redis, keys):
    return Erasure(redis, keys, ACCOUNT)


def stone(*, at=4_000_000_000_000, awaits=None, planted=4_000_000_000_000):
    return Tombstone(at=at, planted=planted, asked=0, answered=0, returned=0, awaits=awaits)


def both():
    return [Identify(email=who) for who in (ADA.upper(), BOB)]


def test_commands_leave_the_stream_the_parked_and_the_dead(lane_of, erasure):
    rooms = lane_of()
    for outcome in (Parked(4e9, "unknown_list"), Dead(Failure(status=400))):
        rooms.ship(*both())
        rooms.held.settle(outcome)
    rooms.ship(*both())
    rooms.held.release()
    assert erasure.purge({WHO: stone()}) == 3
    assert rooms.numbers() == {"backlog": 1, "parked": 1, "dead": 1, "dropped": 3}


def test_what_is_newer_stays(lane_of, erasure):
    rooms = lane_of()
    rooms.ship(*both())
    assert erasure.purge({WHO: stone(at=1)}) == 0
    assert rooms.numbers() == {"backlog": 2}


def test_nobody_to_forget_costs_nothing(erasure):
    assert erasure.purge({}) == 0


def test_all_lanes_are_looked_through_but_that_of_the_deletions(lane_of, erasure):
    for lane, command in (
        ("events", Track(metric="M", email=ADA)),
        ("lists:bulk", AddToList(list_id="AAAAAA", email=ADA)),
    ):
        rooms = lane_of(lane)
        rooms.ship(command)
        rooms.held.release()
    privacy = lane_of("privacy")
    privacy.put(DeleteProfile(email=ADA))
    privacy.held.release()
    assert erasure.purge({WHO: stone()}) == 2
    assert privacy.numbers() == {"backlog": 1}


def test_a_lane_is_left_alone_as_long_as_its_planner_is_awaited(lane_of, erasure):
    rooms = lane_of()
    rooms.ship(*both())
    awaits = erasure.planners()
    assert awaits == {"profiles": rooms.lease.token}
    assert erasure.is_under_way(WHO, stone(awaits=awaits))
    assert erasure.purge({WHO: stone(awaits=awaits)}) == 0
    rooms.held.release()
    assert not erasure.is_under_way(WHO, stone(awaits=awaits))
    assert erasure.purge({WHO: stone(awaits=awaits)}) == 1


@pytest.mark.parametrize(("who", "is_followed"), [(ADA, True), (BOB, False), ("carl@x.io", False)])
def test_a_row_in_an_import_job_is_under_way(lane_of, erasure, who, is_followed):
    rooms = lane_of()
    rooms.ship(Identify(email=ADA, properties={"friend": BOB}))
    rooms.held.settle(Following("JOB", 0))
    assert erasure.is_under_way(f"email:{who}", stone()) is is_followed


@pytest.mark.parametrize(("who", "is_followed"), [(ADA, True), ("carl@x.io", False)])
def test_a_row_in_a_job_that_cannot_be_read_may_be_the_persons(lane_of, erasure, who, is_followed):
    rooms = lane_of()
    rooms.ship(Identify(email=ADA))
    rooms.held.settle(Following("JOB", 0))
    following = rooms.lane.keys.following
    newer = rooms.redis.hget(following, "JOB").replace(b'"identify"', b'"merge"')
    rooms.redis.hset(following, "JOB", newer)
    assert erasure.is_under_way(f"email:{who}", stone()) is is_followed


@pytest.mark.parametrize(("age", "purged"), [(-60, 1), (60, 0)], ids=["before", "after"])
def test_a_parked_command_that_cannot_be_read_and_names_the_person_goes(
    lane_of, erasure, age, purged
):
    rooms = lane_of()
    rooms.ship(Identify(email=ADA))
    now = time.time()
    rooms.held.settle(Parked(now + 1e6, "x"), at=now + age)
    parked = rooms.lane.keys.parked
    [(name, stored)] = rooms.redis.hgetall(parked).items()
    rooms.redis.hset(parked, name, stored.replace(b'"identify"', b'"merge"'))
    rooms.held.release()
    assert erasure.purge({WHO: stone(planted=int(now * 1000))}) == purged


@pytest.mark.parametrize(("age", "left"), [(-60, 0), (60, 1)], ids=["before", "after"])
def test_an_unreadable_letter_that_speaks_of_the_person_goes(lane_of, erasure, keys, age, left):
    rooms = lane_of("events")
    rooms.ship(Track(metric="M", email=BOB))
    rooms.held.settle(Dead(Failure(status=400)))
    now = time.time()
    letter = dead_letters.invalid(
        rooms.lane.name, "task", "track", f'{{"email":"{ADA.upper()}"}}', "why", now=now + age
    )
    rooms.redis.hset(rooms.lane.keys.dead, "task", letter)
    rooms.held.release()
    erasure.purge({WHO: stone(planted=int(now * 1000))})
    letters = DeadLetters(rooms.redis, keys).all([rooms.lane.name])
    assert len(list(letters)) == 1 + left
