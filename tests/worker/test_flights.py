"""Flights: each conversation in a thread of its own, and none is left behind."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay_worker import flights as module
from klaviyo_relay_worker.flights import Errand, Flights
from klaviyo_relay_worker.outcome import Reason
from klaviyo_relay_worker.plan.batch import Batch
from klaviyo_relay_worker.shares import Senders, Shares
from rooms import ACCOUNT, PlayedCourier


class Airport:
    """Flights whose courier the test plays."""

    def __init__(self, places=None):
        self.courier = PlayedCourier()
        self.senders = Senders(8, Shares(places))
        self.flights = Flights(self.courier, self.senders, ACCOUNT)

    def send(self, number=1):
        errands = [
            Errand(Batch("POST /api/events", (), lambda _: iter(())), lambda _: None)
            for _ in range(number)
        ]
        for errand in errands:
            self.flights.send(errand)
        return errands

    def land(self, *errands):
        for errand in errands:
            self.courier.land(errand.batch)


@pytest.fixture
def airport_of():
    made = []

    def make(**more):
        made.append(Airport(**more))
        return made[-1]

    yield make
    for one in made:
        list(one.flights.end())
        one.senders.shutdown()


@pytest.fixture
def airport(airport_of):
    return airport_of()


def landed(airport):
    return [errand for errand, _ in airport.flights.returned()]


def test_all_are_in_flight_at_once_and_come_back_as_they_land(airport, until):
    first, second, third = airport.send(3)
    assert airport.flights.count == 3
    for errand in (second, third, first):
        airport.land(errand)
        assert until(lambda: landed(airport)) == [errand]
    assert airport.flights.count == 0


def test_what_comes_back_is_what_the_courier_brings(airport, until):
    [errand] = airport.send()
    airport.land(errand)
    [(_, returned)] = until(lambda: list(airport.flights.returned()))
    assert (returned.batch, returned.snooze) == (errand.batch, None)


def test_nobody_waits_where_nothing_is_in_flight(airport, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 10.0)
    began = time.monotonic()
    assert landed(airport) == []
    assert time.monotonic() - began < 5


def test_a_turn_plans_again_after_a_little_though_nothing_is_back(airport):
    airport.send()
    began = time.monotonic()
    assert landed(airport) == []
    assert time.monotonic() - began >= module.LOOK_SECONDS * 0.9, "asked without a pause"
    assert airport.flights.count == 1


def test_what_is_back_does_not_wait_for_the_others(airport, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 10.0)
    first, _second = airport.send(2)
    airport.land(first)
    began = time.monotonic()
    assert landed(airport) == [first]
    assert time.monotonic() - began < 5


def test_at_the_end_the_courier_is_stopped_and_all_are_waited_for(airport):
    errands = airport.send(3)
    ended = list(airport.flights.end())
    assert airport.courier.is_stopped
    assert {id(errand) for errand, _ in ended} == {id(errand) for errand in errands}
    assert {returned.snooze.reason for _, returned in ended} == {Reason.DRAINING}
    assert airport.flights.count == 0


def test_they_are_full_with_the_accounts_share_of_the_threads(airport_of, until):
    airport = airport_of(places=2)
    assert not airport.flights.is_full
    [errand] = airport.send()
    assert airport.flights.is_full
    airport.land(errand)
    until(lambda: not airport.flights.is_full)


def test_what_could_not_begin_is_not_waited_for(airport):
    airport.senders.shutdown()
    with pytest.raises(RuntimeError):
        airport.send()
    assert airport.flights.count == 0
    assert list(airport.flights.end()) == []


def test_a_conversation_that_is_over_at_once_comes_back_all_the_same(airport, until):
    batch = Batch("POST /api/events", (), lambda _: iter(()))
    airport.courier.land(batch)
    airport.flights.send(Errand(batch, lambda _: None))
    [(errand, _)] = until(lambda: list(airport.flights.returned()))
    assert (errand.batch, airport.flights.count) == (batch, 0)
