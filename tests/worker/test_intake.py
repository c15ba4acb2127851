"""The intake: what was read and not yet sent, in order, and whom the others must wait for."""

from __future__ import annotations

import pytest

from klaviyo_relay import AddToList, CreateList, Identify, Track, Unsubscribe
from klaviyo_relay_worker import intake as module
from klaviyo_relay_worker import lane as lane_module
from klaviyo_relay_worker.outcome import Delivered, Following, Parked
from klaviyo_relay_worker.plan.batch import Batch, Ledger
from rooms import Rooms


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


def people(*names):
    return [Identify(email=f"{name}@x.io") for name in names]


def fill(rooms):
    rooms.intake.fill(rooms.clock.now())
    return names(rooms.intake.waiting)


def names(entries):
    return [entry.command.email.partition("@")[0] for entry in entries]


def sent(rooms, number):
    batch = Batch("POST /", rooms.intake.waiting[:number], lambda _: iter(()))
    rooms.intake.sent(batch)
    return batch


def returned(rooms, batch, outcome=None):
    ledger = Ledger()
    if outcome is not None:
        ledger.settle(batch.entries, outcome)
    rooms.intake.returned(batch, ledger)


def parked(rooms, *commands, until=0.0, **more):
    """A new turn at a lane in which these are parked."""
    rooms.ship(*commands)
    rooms.held.settle(Parked(until, "unknown_list", **more))


def test_nothing_is_read_before_the_first_fill(redis, rooms_of):
    rooms = rooms_of()
    assert rooms.intake.waiting == []
    assert rooms.intake.held() == frozenset()
    assert not rooms.intake.has_news()


def test_what_comes_in_later_is_read_on_from_there(rooms):
    rooms.ship(*people("a", "b"))
    rooms.ship(*people("c"))
    assert fill(rooms) == ["a", "b", "c"]
    assert fill(rooms) == ["a", "b", "c"]


def test_no_more_is_read_than_there_is_room_for(rooms, monkeypatch):
    monkeypatch.setattr(rooms.intake, "_most", 10)
    monkeypatch.setattr(module, "READ_AT_ONCE", 5)
    rooms.ship(*people(*(f"p{n}" for n in range(30))))
    assert len(rooms.intake.waiting) == 10
    assert rooms.intake.has_news()
    sent(rooms, 5)
    assert len(fill(rooms)) == 10


def test_no_more_bytes_are_read_than_there_is_room_for(rooms, monkeypatch):
    monkeypatch.setattr(module, "BYTES_MOST", 1)
    monkeypatch.setattr(module, "READ_AT_ONCE", 5)
    rooms.ship(*people(*(f"p{n}" for n in range(30))))
    assert len(rooms.intake.waiting) == 5, "one page, however large, or the lane would stand still"


def test_what_comes_back_without_an_outcome_has_its_place_again(rooms):
    rooms.ship(*people("a", "b", "c"))
    batch = sent(rooms, 2)
    assert names(rooms.intake.waiting) == ["c"]
    returned(rooms, batch)
    assert names(rooms.intake.waiting) == ["a", "b", "c"]


def test_who_is_in_flight_holds_the_others_back_until_they_are_back(rooms):
    rooms.ship(*people("a"))
    batch = sent(rooms, 1)
    assert rooms.intake.held() == {"email:a@x.io"}
    returned(rooms, batch, Delivered())
    assert rooms.intake.held() == frozenset()


def test_events_hold_nobody(rooms_of):
    rooms = rooms_of("events")
    rooms.ship(Track(metric="M", email="a@x.io"))
    batch = sent(rooms, 1)
    assert rooms.intake.held() == frozenset()
    returned(rooms, batch, Parked(4e9, "server_error"))
    assert rooms.intake.held() == frozenset()


def test_who_was_parked_or_followed_in_an_earlier_turn_holds_back(rooms_of):
    before = rooms_of()
    parked(before, *people("parked"), until=4e9)
    before.ship(*people("followed"))
    before.held.settle(Following("JOB", 0))
    rooms = rooms_of()
    fill(rooms)
    assert rooms.intake.held() == {"email:parked@x.io", "email:followed@x.io"}
    assert rooms.intake.followed() == ["JOB"]


def test_parked_commands_whose_time_has_come_go_first(rooms_of):
    parked(rooms_of(), *people("parked"))
    rooms = rooms_of()
    rooms.ship(*people("new"))
    assert names(rooms.intake.waiting) == ["parked", "new"]
    assert rooms.intake.held() == frozenset()
    batch = sent(rooms, 1)
    assert fill(rooms) == ["new"], "one in flight was read again"
    returned(rooms, batch)
    assert names(rooms.intake.waiting) == ["parked", "new"]


def test_what_goes_alone_is_kept_out_of_batches_with_all_of_its_person(rooms_of):
    parked(rooms_of(), *people("alone"), is_alone=True)
    rooms = rooms_of()
    rooms.ship(*people("alone", "other"))
    assert names(rooms.intake.alone()) == ["alone"]
    assert names(rooms.intake.together()) == ["other"]


def test_commands_that_were_one_row_keep_their_order_whenever_each_is_due(rooms_of, monkeypatch):
    before = rooms_of()
    monkeypatch.setattr(before.clock, "now", lambda: 1.0)
    before.ship(*people("a", "a", "a"))
    entries = before.held.read()
    # Not the order of their ids, by which Redis gives what is due at the same time.
    ordered = sorted(entries, key=lambda entry: entry.envelope.id, reverse=True)
    for rank, entry in enumerate(ordered):
        row = Parked(9.0 - rank, "row_refused", is_alone=True, rank=rank)
        before.held.settle(row, [entry])
    again = next(entry for entry in before.held.parked() if entry.rank == 1)
    before.held.settle(Parked(10.0, "server_error", is_alone=True), [again])
    rooms = rooms_of()
    for moment in (9.5, 10.0):
        rooms.intake.fill(moment)
    waiting = [entry.envelope.id for entry in rooms.intake.waiting]
    assert waiting == [entry.envelope.id for entry in ordered]


def read_at_once(monkeypatch, most):
    for reader in (module, lane_module):
        monkeypatch.setattr(reader, "DUE_MOST", most)


def test_a_refused_row_larger_than_what_is_read_at_once_is_read_whole(rooms_of, monkeypatch):
    read_at_once(monkeypatch, 10)
    before = rooms_of()
    before.ship(*people(*["a"] * 25))
    for rank, entry in enumerate(before.held.read()):
        before.held.settle(Parked(0.0, "row_refused", is_alone=True, rank=rank), [entry])
    rooms = rooms_of()
    rooms.intake.fill(1.0)
    assert [entry.rank for entry in rooms.intake.waiting] == list(range(25))
    assert [entry.rank for entry in rooms.intake.alone()] == [0]


def test_no_more_of_what_is_due_is_taken_than_there_is_room_for(rooms_of, monkeypatch):
    read_at_once(monkeypatch, 10)
    before = rooms_of()
    parked(before, *people(*(f"p{n}" for n in range(25))))
    before.ship(*people("followed"))
    before.held.settle(Following("JOB", 0), at=1.0)
    rooms = rooms_of()
    monkeypatch.setattr(rooms.intake, "_most", 15)
    rooms.intake.fill(10.0)
    assert len(rooms.intake.waiting) == 20
    assert [job for job, _ in rooms.intake.jobs] == ["JOB"], "nobody goes before it is looked at"


def test_an_unsubscribe_need_not_wait_for_a_parked_one(rooms_of):
    parked(rooms_of("consent"), Unsubscribe(list_id="AAAAAA", email="a@x.io"), until=4e9)
    rooms = rooms_of("consent")
    fill(rooms)
    assert rooms.intake.held() == {"email:a@x.io"}
    assert rooms.intake.held_from_unsubscribe() == frozenset()


def test_candidates_are_one_of_each_person_and_not_behind_a_list(rooms_of):
    rooms = rooms_of("lists")
    add = [AddToList(list_id="AAAAAA", email=f"{name}@x.io") for name in "aab"]
    rooms.ship(*add, CreateList(list_name="N"), AddToList(list_id="AAAAAA", email="c@x.io"))
    assert names(rooms.intake.candidates()) == ["a", "b"]


def test_a_list_is_held_while_a_command_about_it_is_in_flight_or_parked(rooms_of):
    rooms = rooms_of("lists")
    rooms.ship(CreateList(list_name="N"), AddToList(list_name="N", email="a@x.io"))
    batch = sent(rooms, 1)
    assert rooms.intake.held() == {"list_name:N"}
    assert rooms.intake.candidates() == []
    rooms.held.settle(Parked(4e9, "server_error", is_alone=True), batch.entries)
    returned(rooms, batch, Parked(4e9, "server_error", is_alone=True))
    assert rooms.intake.held() == {"list_name:N"}
    later = rooms_of("lists")
    later.intake.fill(later.clock.now())
    assert later.intake.held() == {"list_name:N"}
    later.intake.fill(5e9)
    assert [entry.command for entry in later.intake.alone()] == [CreateList(list_name="N")]
    assert later.intake.together() == [], "the list's others wait for the one that goes alone"


def test_what_must_go_singly_is_remembered(rooms):
    rooms.ship(*people("a"))
    batch = sent(rooms, 1)
    rooms.intake.returned(batch, Ledger(singly={batch.entries[0].key}))
    assert rooms.intake.singly == {batch.entries[0].key}


def test_an_unreadable_message_is_buried_and_the_others_are_read(rooms, redis):
    redis.xadd(rooms.lane.keys.stream, {"e": b"no envelope"})
    rooms.ship(*people("a"))
    assert names(rooms.intake.waiting) == ["a"]
    assert redis.hlen(rooms.lane.keys.dead) == 1


def test_a_look_at_a_job_that_ended_frees_all_but_those_that_were_parked(rooms_of):
    before = rooms_of()
    before.ship(*people("done", "again"))
    before.held.settle(Following("JOB", 0))
    rooms = rooms_of()
    fill(rooms)
    [(job_id, record)] = rooms.lane.due(4e9).jobs
    entries = [entry for row in record.parts() for entry in row]
    batch = Batch("GET /", entries, lambda _: iter(()))
    ledger = Ledger()
    for entry in entries:
        is_done = entry.command.email.startswith("done")
        ledger.settle((entry,), Delivered() if is_done else Parked(0.0, "row_refused"))
    rooms.intake.look_sent(job_id)
    rooms.intake.look_returned(job_id, batch, ledger, has_ended=True)
    assert rooms.intake.held() == {"email:again@x.io"}
    assert rooms.intake.followed() == []


def test_a_place_orders_parked_ones_by_their_time(talk):
    older = talk.entry(Identify(email="a@x.io"), at=1.0, parked=True)
    newer = talk.entry(Identify(email="b@x.io"), at=2.0, parked=True)
    streamed = [talk.entry(Identify(email=f"{n}@x.io")) for n in range(12)]
    mixed = [*streamed[::-1], newer, older]
    assert sorted(mixed, key=module._place) == [older, newer, *streamed]
