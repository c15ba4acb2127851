"""Dispatch: from the lane to Klaviyo and back, with nothing lost on either way."""

from __future__ import annotations

import pytest

from klaviyo_relay import AddToList, CreateList, Identify
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.outcome import Delivered, Following, Parked, Snooze
from klaviyo_relay_worker.plan.batch import Batch, Ledger
from klaviyo_relay_worker.pseudonyms import Pseudonyms
from klaviyo_relay_worker.tombstones import Tombstones
from rooms import ACCOUNT, Rooms, emails


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(lane="profiles"):
        made.append(Rooms(redis, lane))
        return made[-1]

    yield make
    for one in made:
        one.senders.shutdown()


@pytest.fixture
def rooms(rooms_of):
    return rooms_of()


def person(name):
    return Identify(email=f"{name}@x.io", first_name="Ada")


def batch_of(entries):
    return Batch("POST /api/profile-import", list(entries), lambda _: iter(()))


def dispatched(rooms, number=None):
    return rooms.dispatch.errand(batch_of(rooms.intake.waiting[:number]))


def back(errand, outcome=None, snooze=None, **ledger):
    made = Ledger(**ledger)
    if outcome is not None:
        made.settle(errand.batch.entries, outcome)
    errand.settle(Returned(errand.batch, made, snooze))


def test_what_is_dispatched_waits_no_longer_and_holds_its_people(rooms):
    rooms.ship(person("a"), person("b"))
    dispatched(rooms, 1)
    assert emails([batch_of(rooms.intake.waiting)]) == [["b@x.io"]]
    assert rooms.intake.held() == {"email:a@x.io"}


def test_what_klaviyo_took_is_out_of_the_lane_and_holds_nobody(rooms):
    rooms.ship(person("a"))
    back(dispatched(rooms), Delivered())
    assert rooms.numbers() == {"delivered": 1}
    assert rooms.intake.held() == frozenset()


def test_what_has_no_outcome_waits_again_in_its_place(rooms):
    rooms.ship(person("a"), person("b"))
    back(dispatched(rooms, 1), snooze=Snooze(1.0, "outage", is_failure=True))
    assert emails([batch_of(rooms.intake.waiting)]) == [["a@x.io", "b@x.io"]]
    assert rooms.intake.held() == frozenset()
    assert rooms.numbers() == {"backlog": 2}


@pytest.mark.parametrize(
    "outcome", [Following("JOB", 0), Parked(4e9, "unknown_list")], ids=["in a job", "parked"]
)
def test_who_is_not_done_with_holds_back_what_comes_later(rooms, outcome):
    rooms.ship(person("a"))
    back(dispatched(rooms), outcome)
    assert rooms.intake.held() == {"email:a@x.io"}


def test_a_forgotten_person_is_not_sent_and_the_plan_is_void(rooms):
    rooms.ship(person("a"), person("b"))
    stones = Tombstones(rooms.redis, rooms.keys, ACCOUNT, Pseudonyms(rooms.redis, rooms.keys))
    stones.plant("email:a@x.io", 4_000_000_000_000)
    assert dispatched(rooms) is None
    assert rooms.numbers() == {"dropped": 1, "backlog": 1}
    assert emails([batch_of(rooms.intake.waiting)]) == [["b@x.io"]]
    assert rooms.intake.held() == frozenset(), "the others were sent all the same"


def test_the_id_of_a_created_list_is_kept_before_the_command_leaves_its_lane(rooms_of):
    rooms = rooms_of("lists")
    rooms.ship(CreateList(list_name="News"))
    errand = dispatched(rooms)
    identity = errand.batch.entries[0].envelope.id
    rooms.held.release()
    with pytest.raises(LeaseLostError):
        back(errand, Delivered(), created={identity: "LIST01"})
    assert rooms.redis.get(rooms.keys.created(ACCOUNT, identity)) == b"LIST01"
    assert rooms.numbers() == {"backlog": 1}


def test_the_names_of_lists_are_learned(rooms_of):
    rooms = rooms_of("lists")
    rooms.ship(AddToList(list_name="News", email="a@x.io"))
    back(dispatched(rooms), Delivered(), lists={"News": "LIST01"})
    assert rooms.accounts.lists(ACCOUNT) == {"News": "LIST01"}


def test_a_note_about_an_import_is_forgotten_once_its_rows_are_written_down(rooms):
    rooms.ship(person("a"))
    errand = dispatched(rooms)
    known, unknown = (rooms.lane.note_import(1.0) for _ in range(2))
    rooms.redis.set(rooms.lease.key, "another planner's")
    with pytest.raises(LeaseLostError):
        back(errand, Following("JOB", 0), imports=[known])
    assert set(rooms.lane.state().imports) == {known, unknown}
    rooms.redis.set(rooms.lease.key, rooms.lease.token)
    back(errand, Following("JOB", 0), imports=[known])
    assert set(rooms.lane.state().imports) == {unknown}


def test_settling_twice_does_no_harm(rooms):
    rooms.ship(person("a"), person("b"))
    errand = dispatched(rooms)
    for _ in range(2):
        back(errand, Delivered())
    assert rooms.numbers() == {"delivered": 2}
