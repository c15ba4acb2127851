"""The lookahead: unsubscribes behind the window come early, and are met only once."""

from __future__ import annotations

import pytest

from klaviyo_relay import Identify, Subscribe, Unsubscribe
from klaviyo_relay_worker import lookahead as module
from klaviyo_relay_worker.lookahead import Lookahead
from rooms import Rooms


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(lane="consent"):
        made.append(Rooms(redis, lane))
        return made[-1]

    yield make
    for one in made:
        one.senders.shutdown()


@pytest.fixture
def rooms(rooms_of):
    made = rooms_of()
    made.ship(
        *(Subscribe(email=f"p{n}@x.io") for n in range(10)),
        *(Unsubscribe(email=f"q{n}@x.io") for n in range(5)),
        Subscribe(email="z@x.io"),
    )
    return made


def names(entries):
    return [entry.command.email.partition("@")[0] for entry in entries]


def test_the_unsubscribes_behind_a_place_are_found_once(rooms):
    ahead = Lookahead(rooms.lane)
    third = rooms.held.read()[2].key
    assert names(ahead.read(third)) == [f"q{n}" for n in range(5)]
    assert ahead.read(third) == []
    assert len(ahead.taken) == 5


def test_what_stands_before_the_place_is_not_looked_for(rooms):
    entries = rooms.held.read()
    assert names(Lookahead(rooms.lane).read(entries[11].key)) == ["q2", "q3", "q4"]


def test_what_was_taken_is_left_out_when_the_intake_comes_to_it(rooms):
    ahead = Lookahead(rooms.lane)
    ahead.read(rooms.held.read()[0].key)
    entries = rooms.held.read()
    assert names(ahead.without_taken(entries)) == [*(f"p{n}" for n in range(10)), "z"]
    assert ahead.taken == set()
    assert ahead.without_taken(entries) == entries


def test_no_more_are_taken_than_can_be_kept(rooms, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 1)
    monkeypatch.setattr(module, "TAKEN_MOST", 2)
    ahead = Lookahead(rooms.lane)
    start = rooms.held.read()[0].key
    assert names(ahead.read(start)) == ["q0", "q1"]
    assert ahead.read(start) == []
    ahead.taken.clear()
    assert names(ahead.read(start)) == ["q2", "q3"]


def test_the_way_ahead_is_gone_in_steps(rooms, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 4)
    monkeypatch.setattr(module, "READ_MOST", 8)
    ahead = Lookahead(rooms.lane)
    assert names(ahead.read("0-0")) == []
    assert names(ahead.read("0-0")) == [f"q{n}" for n in range(5)]


@pytest.mark.parametrize("lane", ["profiles", "lists", "consent:bulk"])
def test_other_lanes_have_nothing_to_be_taken_early(rooms_of, lane):
    rooms = rooms_of(lane)
    rooms.ship(Identify(email="a@x.io"), Unsubscribe(email="b@x.io"))
    assert Lookahead(rooms.lane).read("0-0") == []
