"""The choice: each lane's plan is told what it must know beside the commands."""

from __future__ import annotations

import pytest

from klaviyo_relay import AddToList, Identify, Track
from klaviyo_relay.envelope import LANES
from klaviyo_relay_worker import choice as module
from klaviyo_relay_worker.breaker import family_of
from klaviyo_relay_worker.outcome import Parked
from klaviyo_relay_worker.plan.batch import Ledger
from rooms import ACCOUNT, Rooms


@pytest.fixture
def told(monkeypatch):
    """What the chooser of every lane was told; it chooses nothing."""
    found = []

    def choose(entries, situation):
        found.append((list(entries), situation))
        return []

    monkeypatch.setattr(module, "CHOOSERS", dict.fromkeys(module.CHOOSERS, choose))
    return found


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(lane):
        made.append(Rooms(redis, lane))
        return made[-1]

    yield make
    for one in made:
        one.senders.shutdown()


def test_every_family_of_lanes_has_a_chooser():
    assert set(module.CHOOSERS) == {family_of(lane) for lane in LANES}


@pytest.mark.parametrize("is_idle", [True, False])
def test_the_plan_knows_the_time_and_whether_anything_is_in_flight(told, rooms_of, is_idle):
    rooms = rooms_of("profiles")
    rooms.choice.batches([], is_idle=is_idle)
    [(_, situation)] = told
    assert situation.is_idle is is_idle
    assert situation.now == pytest.approx(rooms.clock.now(), abs=5)


def test_the_plan_knows_who_must_wait_and_which_lists_there_are(told, rooms_of):
    rooms = rooms_of("lists")
    rooms.ship(AddToList(list_name="News", email="a@x.io"))
    rooms.held.settle(Parked(4e9, "unknown_list"))
    rooms.accounts.learn_lists(ACCOUNT, {"News": "LIST01"})
    rooms = rooms_of("lists")
    rooms.ship(AddToList(list_name="News", email="b@x.io"))
    rooms.choice.batches(rooms.intake.waiting, is_idle=True)
    [(entries, situation)] = told
    assert [entry.command.email for entry in entries] == ["b@x.io"]
    assert situation.held == situation.held_from_unsubscribe == {"email:a@x.io"}
    assert situation.lists == {"News": "LIST01"}


def test_the_plan_knows_what_must_go_singly(told, rooms_of):
    rooms = rooms_of("events")
    rooms.ship(Track(metric="M", email="a@x.io"))
    errand = rooms.dispatch.errand(rooms_batch(rooms))
    rooms.intake.returned(errand.batch, Ledger(singly={errand.batch.entries[0].key}))
    rooms.choice.batches(rooms.intake.waiting, is_idle=True)
    [(entries, situation)] = told
    assert situation.singly == {entries[0].key}


def rooms_batch(rooms):
    return module.Batch("POST /", list(rooms.intake.waiting), lambda _: iter(()))


def test_only_lanes_whose_admission_knows_more_tell_facts(told, rooms_of):
    for lane, command in (("profiles", Identify(email="a@x.io")), ("consent", None)):
        rooms = rooms_of(lane)
        if command is not None:
            rooms.ship(command)
        rooms.choice.batches(rooms.intake.waiting, is_idle=True)
    assert [situation.facts is not None for _, situation in told] == [False, True]
