"""Shipping: a chunk goes while the next one is made, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest
from redis.exceptions import ConnectionError as AwayError

from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.shipping import Shipping

LANE = "default:events:bulk"


def chunk(first, many=3):
    return {LANE: [(number, b'{"id":"%d"}' % number) for number in range(first, first + many)]}


class Doors:
    """Redis's entrance, which a test may hold shut or let fail."""

    def __init__(self, entrance):
        self._entrance = entrance
        self.arrived, self.open = threading.Event(), threading.Event()
        self.open.set()
        self.fault = None

    def ship(self, *arguments, **more):
        self.arrived.set()
        assert self.open.wait(20)
        if self.fault is not None:
            raise self.fault
        return self._entrance.ship(*arguments, **more)

    def __getattr__(self, name):
        return getattr(self._entrance, name)


@pytest.fixture
def doors(redis, keys):
    return Doors(LaneEntrance(redis, keys, 10**9))


@pytest.fixture
def commands(redis, keys):
    """How many are in the lane."""
    return lambda: redis.xlen(keys.lane("default", "events:bulk").stream)


@pytest.fixture
def shipping_of(doors, relay_settings):
    def make(*, timeout=10.0, marks=None, tell=lambda _: None):
        return Shipping(
            doors, "load", relay_settings, timeout=timeout, marks=marks or {}, tell=tell
        )

    return make


def test_what_was_waited_for_is_in_redis_and_marked(shipping_of, commands):
    with shipping_of() as shipping:
        shipping.ship(chunk(1))
        shipping.wait()
        assert (shipping.marks(), shipping.added) == ({LANE: 3}, 3)
        shipping.ship(chunk(4))
        shipping.wait()
        assert (shipping.marks(), shipping.added) == ({LANE: 6}, 6)
    assert commands() == 6


def test_what_an_earlier_run_left_behind_is_not_added_again(shipping_of, commands):
    with shipping_of() as shipping:
        shipping.ship(chunk(1))
        shipping.wait()
    with shipping_of(marks={LANE: 2}) as again:
        again.ship(chunk(1, 4))
        again.wait()
        assert (again.marks(), again.added) == ({LANE: 4}, 1)
    assert commands() == 4


def test_a_redis_that_came_back_older_than_an_earlier_run_is_said(shipping_of):
    with shipping_of(marks={LANE: 3}) as shipping:
        shipping.ship(chunk(4))
        with pytest.raises(RedisUnavailableError, match="load again"):
            shipping.wait()


def test_the_caller_goes_on_while_a_chunk_is_on_its_way(shipping_of, doors):
    doors.open.clear()
    with shipping_of() as shipping:
        shipping.ship(chunk(1))
        assert doors.arrived.wait(10)
        assert (shipping.marks(), shipping.added) == ({}, 0)
        doors.open.set()
        shipping.wait()
        assert shipping.added == 3


def test_a_redis_that_stays_away_is_an_error_where_it_is_waited_for(shipping_of, doors):
    doors.fault = AwayError("away")
    with shipping_of(timeout=0.05) as shipping:
        shipping.ship(chunk(1))
        with pytest.raises(RedisUnavailableError):
            shipping.wait()


def test_a_load_that_ends_gives_up_what_waits_for_redis(shipping_of, doors):
    doors.fault = AwayError("away")
    told = threading.Event()
    with shipping_of(timeout=None, tell=lambda _: told.set()) as shipping:
        shipping.ship(chunk(1))
        assert told.wait(10)
    with pytest.raises(LoadError, match="given up"):
        shipping.wait()
