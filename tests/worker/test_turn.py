"""The turn: how long a planner may go on, and why the lane waits when it may not."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker import turn as module
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.outcome import Reason, Snooze
from klaviyo_relay_worker.plan.batch import Batch, Ledger, decided
from rooms import ACCOUNT, Rooms

ANSWERED = Batch("POST /api/events", (), lambda _: iter(()))


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(lane="events", **more):
        made.append(Rooms(redis, lane, **more))
        return made[-1]

    yield make
    for one in made:
        one.senders.shutdown()


def learn(rooms, snooze=None, batch=ANSWERED):
    rooms.turn.learn(Returned(batch, Ledger(), snooze))


def may_begin_something(rooms):
    turn = rooms.turn
    assert turn.goes_on(1), "what is in flight must be waited for"
    assert turn.may_send(0) == turn.goes_on(0)
    return turn.goes_on(0)


def test_a_turn_that_nothing_hinders_goes_on(rooms_of):
    rooms = rooms_of()
    assert may_begin_something(rooms)
    assert not rooms.turn.is_out_of_time


def test_a_turn_ends_when_its_time_is_over(rooms_of, monkeypatch):
    monkeypatch.setattr(module, "TURN_SECONDS", -1.0)
    rooms = rooms_of()
    assert not may_begin_something(rooms)
    assert rooms.turn.is_out_of_time


def test_a_worker_that_drains_begins_nothing(rooms_of):
    rooms = rooms_of()
    rooms.is_draining = True
    assert not may_begin_something(rooms)


def test_a_pause_ends_the_turn_and_a_resume_goes_on_with_it(rooms_of, monkeypatch):
    monkeypatch.setattr(module, "ASK_SECONDS", 0.0)
    rooms = rooms_of()
    for rooms.is_allowed in (False, True):
        rooms.turn.ask_leave()
        assert may_begin_something(rooms) is rooms.is_allowed


def test_leave_is_asked_once_a_second_and_not_for_a_probe(rooms_of, monkeypatch):
    monkeypatch.setattr(module, "ASK_SECONDS", 60.0)
    often = rooms_of()
    often.turn.ask_leave()
    monkeypatch.setattr(module, "ASK_SECONDS", 0.0)
    probe = rooms_of(is_probe=True)
    probe.turn.ask_leave()
    assert [often.asked, probe.asked] == [0, 0]


@pytest.mark.parametrize(("is_probe", "most"), [(True, 1), (False, module.IN_FLIGHT_MOST)])
def test_so_many_may_be_in_flight(rooms_of, is_probe, most):
    turn = rooms_of(is_probe=is_probe).turn
    assert [turn.may_send(number) for number in (most - 1, most)] == [True, False]


def test_a_probe_is_over_with_klaviyos_first_answer(rooms_of):
    rooms = rooms_of(is_probe=True)
    learn(rooms, batch=decided([]))
    assert not rooms.turn.may_send(1), "Klaviyo was not asked at all"
    learn(rooms)
    assert rooms.turn.may_send(1)


def test_of_several_reasons_to_wait_the_longest_counts(rooms_of):
    rooms = rooms_of()
    for seconds in (2.0, 5.0, 3.0):
        rooms.turn.wait(Snooze(seconds, f"for {seconds}"))
    assert rooms.turn.snooze == Snooze(5.0, "for 5.0")
    assert not may_begin_something(rooms)


def test_what_comes_back_with_a_reason_lets_the_lane_wait(rooms_of):
    rooms = rooms_of()
    learn(rooms, Snooze(1.0, "outage", is_failure=True))
    assert rooms.turn.snooze.reason == "outage"


def test_a_lease_that_cannot_be_renewed_ends_the_turn_at_once(rooms_of):
    rooms = rooms_of()
    with pytest.raises(LeaseLostError):
        learn(rooms, Snooze(0.0, Reason.LEASE, detail="not renewed"))


def test_the_first_answer_forgets_the_outages_of_the_lane(rooms_of):
    rooms = rooms_of(failures=3)
    rooms.lane.snooze(0.5, 1.0, "outage", 3)
    learn(rooms)
    assert rooms.lane.state().failures == 0
    rooms.lane.snooze(1.5, 2.0, "quota", 1)
    learn(rooms)
    assert rooms.lane.state().reason == "quota", "written again with each answer"


@pytest.mark.parametrize(
    ("status", "paused"), [(401, [True, True]), (403, [False, True])], ids=["key", "scope"]
)
def test_a_refused_key_pauses_the_account_and_a_missing_scope_the_family(rooms_of, status, paused):
    rooms = rooms_of("events:bulk")
    learn(rooms, Snooze(60.0, Reason.UNAUTHORIZED, status=status))
    whole, events = rooms.accounts.breakers.look(ACCOUNT, "events")
    _, profiles = rooms.accounts.breakers.look(ACCOUNT, "profiles")
    assert [bool(whole.wait_seconds), bool(whole.wait_seconds or events.wait_seconds)] == paused
    assert not profiles.wait_seconds
    assert rooms.turn.snooze.seconds == 60.0
