"""The standby: delivers in the doorbell's process, a thread a lane, and ends with it."""

from __future__ import annotations

import threading

import pytest

from klaviyo_relay import Identify, Track
from klaviyo_relay_worker.standby import THREADS_MOST, Standby
from waiting import wait_until


class Watched:
    """A standby over a house's planner, and what it told."""

    def __init__(self, house):
        self.begun, self.again = [], []
        self.standby = Standby(lambda: house.planner, self.begun.append, self.again.append)

    def is_at_rest(self):
        return not self.standby._at_work


@pytest.fixture
def watched(house):
    made = Watched(house)
    yield made
    made.standby.end(15)


def test_a_lane_is_delivered_by_a_thread_of_its_own(house, watched):
    house.enqueue(Track(metric="M", email="ada@shop.io"), Identify(email="ada@shop.io"))
    names = ["default:events", "default:profiles"]
    assert [watched.standby.take(name) for name in names] == [True, True]
    wait_until(watched.is_at_rest)
    assert (watched.begun, watched.again) == (names, [])
    assert [house.numbers(name) for name in ("events", "profiles")] == [{"delivered": 1}] * 2


def test_a_lane_that_is_at_work_is_not_taken_twice(house, watched):
    watched.standby._at_work["default:events"] = threading.current_thread()
    assert not watched.standby.take("default:events")
    del watched.standby._at_work["default:events"]


def test_a_lane_that_may_not_deliver_is_left_alone(house, watched):
    house.planner.accounts.breakers.pause("default", "", "person")
    assert not watched.standby.take("default:events")


def test_no_more_threads_than_that(house, watched):
    busy = {f"default:lane{n}": threading.current_thread() for n in range(THREADS_MOST)}
    watched.standby._at_work.update(busy)
    assert not watched.standby.take("default:events")
    watched.standby._at_work.clear()


def test_nor_where_each_of_several_accounts_would_have_one_left(house, watched):
    accounts = ("default", "a", "b")
    house._planner = house.make_planner(api_keys=dict.fromkeys(accounts, "pk_test"))
    half = range(THREADS_MOST // 2)
    busy = {f"{who}:lane{n}": threading.current_thread() for who in ("a", "b") for n in half}
    watched.standby._at_work.update(busy)
    assert not watched.standby.take("default:events")
    watched.standby._at_work.clear()


def test_what_has_ended_takes_no_more(house, watched):
    watched.standby.end(1)
    assert not watched.standby.take("default:events")


@pytest.mark.parametrize(("keys", "takes"), [(1, True), (2, False)], ids=["alone", "several"])
def test_of_the_standbys_threads_an_account_has_half_unless_it_is_alone(house, keys, takes):
    accounts = ["default", "other"][:keys]
    planner = house.make_planner(api_keys={account: f"pk_{account}" for account in accounts})
    standby = Standby(lambda: planner, lambda _: None, lambda _: None)
    busy = {f"default:lane{number}": threading.current_thread() for number in range(4)}
    standby._at_work.update(busy)
    house.enqueue(Track(metric="M", email="ada@shop.io"))
    assert standby.take("default:events") is takes
    assert standby.take("other:events") is (keys > 1)
    wait_until(lambda: len(standby._at_work) == len(busy))
    assert house.numbers("events") == ({"delivered": 1} if takes else {"backlog": 1})
