"""The agenda: what is urgent first, what may harm others by itself, the rest in large batches."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import Identify, Subscribe, Track, Unsubscribe
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.clearance import Clearance
from klaviyo_relay_worker.outcome import Delivered, Following, Parked, Reason, Snooze
from klaviyo_relay_worker.plan import profiles
from klaviyo_relay_worker.plan.batch import Ledger
from klaviyo_relay_worker.pseudonyms import Pseudonyms
from klaviyo_relay_worker.suspicion import TURNS_SUSPICIOUS
from klaviyo_relay_worker.tombstones import Tombstones
from klaviyo_relay_worker.turn import IN_FLIGHT_MOST
from rooms import ACCOUNT, Rooms, emails


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(lane="profiles", **more):
        made.append(Rooms(redis, lane, **more))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


@pytest.fixture
def rooms(rooms_of):
    return rooms_of()


def person(name, **more):
    return Identify(email=f"{name}@x.io", **(more or {"first_name": "Ada"}))


def people(number, prefix="p", **more):
    return [person(f"{prefix}{n}", **more) for n in range(number)]


def endpoints(batches):
    return [batch.endpoint for batch in batches]


def in_a_job(rooms, name):
    """A person in an import job whose next look is due."""
    rooms.ship(person(name))
    rooms.held.settle(Following("JOB", 0), at=rooms.clock.now() - 10)
    rooms.redis.zadd(rooms.lane.keys.due, {"job:JOB": 0})


def parked_alone(rooms, *commands):
    """Commands that go by themselves, and whose time has come."""
    rooms.ship(*commands)
    rooms.held.settle(Parked(0.0, "server_error", is_alone=True))


# --- the order of urgency -------------------------------------------------------------------------


def test_due_looks_go_first_then_what_goes_alone_then_all_others(rooms_of, monkeypatch):
    monkeypatch.setattr(profiles, "BULK_MOST", 20)
    before = rooms_of()
    in_a_job(before, "followed")
    parked_alone(before, person("alone"))
    rooms = rooms_of()
    rooms.ship(*people(20))
    looked, alone, together = rooms.plan()
    assert looked.endpoint == limits.GET_IMPORT_JOB
    assert emails([alone]) == [["alone@x.io"]]
    assert (together.endpoint, len(together.entries)) == (limits.BULK_IMPORT_PROFILES, 20)


def test_while_a_job_may_be_under_way_unseen_only_the_look_for_it_goes(rooms_of, monkeypatch):
    monkeypatch.setattr(profiles, "BULK_MOST", 20)
    rooms = rooms_of(imports={"import:a": time.time() - 20})
    rooms.ship(*people(20))
    [look] = rooms.plan()
    assert look.endpoint == limits.GET_IMPORT_JOBS
    assert rooms.plan() == []
    rooms.land(look)
    assert endpoints(rooms.plan()) == [limits.BULK_IMPORT_PROFILES]


def test_jobs_are_looked_at_though_another_may_be_under_way_unseen(rooms_of):
    in_a_job(rooms_of(), "followed")
    rooms = rooms_of(imports={"import:a": time.time() - 20})
    rooms.ship(*people(20))
    assert endpoints(rooms.plan()) == [limits.GET_IMPORT_JOB]


def test_what_goes_alone_harms_no_other_and_is_not_held_by_one(rooms_of):
    parked_alone(rooms_of(), person("a"), person("b"))
    rooms = rooms_of()
    rooms.ship(*people(10))
    assert emails(rooms.plan())[:2] == [["a@x.io"], ["b@x.io"]]


# --- batches --------------------------------------------------------------------------------------


def test_a_batch_grows_while_something_is_in_flight(rooms):
    rooms.ship(*people(20))
    [first] = rooms.plan()
    rooms.ship(*people(20, "q"))
    assert rooms.plan() == []
    rooms.land(first, Delivered())
    [second] = rooms.plan()
    assert len(second.entries) == 20


def test_a_full_batch_need_not_wait(rooms, monkeypatch):
    monkeypatch.setattr(profiles, "BULK_MOST", 10)
    rooms.ship(*people(35))
    assert [len(batch.entries) for batch in rooms.plan()] == [10, 10, 10]


def test_profiles_that_go_singly_fill_all_places_in_flight(rooms):
    rooms.ship(*people(30, unset=["last_name"]))
    batches = rooms.plan()
    assert endpoints(batches) == [limits.IMPORT_PROFILE] * IN_FLIGHT_MOST


def test_a_superseded_subscribe_does_not_hold_the_others(rooms_of):
    rooms = rooms_of("consent")
    subscribe, withdrawn = (Subscribe(email=f"{name}@x.io") for name in "ab")
    rooms.ship(subscribe)
    [first] = rooms.plan()
    rooms.ship(withdrawn, Unsubscribe(email="b@x.io"))
    [dropped] = rooms.plan()
    assert (dropped.endpoint, emails([dropped])) == ("", [["b@x.io"]])
    assert first.endpoint == limits.BULK_SUBSCRIBE


def test_nobody_overtakes_an_earlier_command_in_flight(rooms):
    rooms.ship(*people(5))
    rooms.plan()
    rooms.ship(person("p0", unset=["last_name"]), person("q", unset=["last_name"]))
    assert emails(rooms.plan()) == [["q@x.io"]]


def test_without_quota_nothing_goes(rooms):
    rooms.accounts.quota.throttled(ACCOUNT, limits.BULK_IMPORT_PROFILES, 30)
    rooms.ship(*people(20))
    assert rooms.plan() == []
    assert len(rooms.intake.waiting) == 20


def test_a_plan_in_which_somebody_is_forgotten_is_made_again_without_them(rooms):
    rooms.ship(*people(20))
    stones = Tombstones(rooms.redis, rooms.keys, ACCOUNT, Pseudonyms(rooms.redis, rooms.keys))
    stones.plant("email:p7@x.io", 4_000_000_000_000)
    [batch] = rooms.plan()
    assert len(batch.entries) == 19
    assert rooms.numbers() == {"dropped": 1, "backlog": 19}


def test_events_go_in_several_requests_at_once(rooms_of):
    rooms = rooms_of("events")
    rooms.ship(*(Track(metric="M", email=f"p{n}@x.io") for n in range(4)))
    assert endpoints(rooms.plan()) == [limits.CREATE_EVENT] * 4


# --- a line-up ------------------------------------------------------------------------------------

FAILED = Snooze(1.0, "outage", is_failure=True, status=500)


@pytest.fixture
def lineup(rooms_of):
    """Rooms in whose lane turn after turn has ended with a server error of Klaviyo's."""
    rooms_of().lane.note_server_error(TURNS_SUSPICIOUS, 8, time.time())
    rooms = rooms_of()
    rooms.ship(*people(20))
    assert rooms.suspicion.is_searching
    return rooms


def test_a_line_up_sends_one_batch_at_a_time(lineup, monkeypatch):
    monkeypatch.setattr(profiles, "BULK_MOST", 5)
    [first] = lineup.plan()
    assert len(first.entries) == 1
    assert lineup.plan() == []
    lineup.land(first, Delivered())
    [second] = lineup.plan()
    assert lineup.plan() == []
    lineup.land(second, Delivered())


def test_a_line_up_in_which_all_fail_is_an_outage(lineup):
    for _ in range(3):
        [batch] = lineup.plan()
        lineup.land(batch, snooze=FAILED)
    assert lineup.plan() == []
    assert lineup.suspicion.outage == FAILED
    assert lineup.numbers() == {"backlog": 20}


def test_a_command_that_has_no_other_to_be_compared_with_is_not_blamed(rooms_of):
    rooms_of().lane.note_server_error(TURNS_SUSPICIOUS, 1, time.time())
    rooms = rooms_of()
    rooms.ship(person("a"))
    [batch] = rooms.plan()
    rooms.land(batch, snooze=FAILED)
    assert rooms.turn.snooze is None
    assert rooms.plan() == []
    assert rooms.turn.snooze == FAILED
    assert rooms.numbers() == {"backlog": 1}


def test_the_culprit_of_a_line_up_is_parked_and_the_others_go_on(lineup):
    [suspect] = lineup.plan()
    lineup.land(suspect, snooze=FAILED)
    [witness] = lineup.plan()
    assert emails([witness]) != emails([suspect])
    lineup.land(witness, Delivered())
    [verdict] = lineup.plan()
    assert (verdict.endpoint, emails([verdict])) == ("", emails([suspect]))
    ledger = verdict_of(verdict)
    [outcome] = ledger.values()
    assert (outcome.reason, outcome.is_alone) == ("server_error", True)


def test_a_verdict_goes_though_the_last_sender_is_taken_meanwhile(lineup, monkeypatch):
    [suspect] = lineup.plan()
    lineup.land(suspect, snooze=FAILED)
    [witness] = lineup.plan()
    lineup.land(witness, Delivered())
    answers = iter([True])
    monkeypatch.setattr(Clearance, "is_open", property(lambda _: next(answers, False)))
    [verdict] = lineup.plan()
    assert (verdict.endpoint, emails([verdict])) == ("", emails([suspect]))


def test_a_culprit_is_parked_though_another_one_is_forgotten(lineup):
    blamed = []
    for _ in range(2):
        [batch] = lineup.plan()
        blamed += batch.entries
        lineup.land(batch, snooze=FAILED)
    assert len(blamed) == 2
    [witness] = lineup.plan()
    lineup.land(witness, Delivered())
    stones = Tombstones(lineup.redis, lineup.keys, ACCOUNT, Pseudonyms(lineup.redis, lineup.keys))
    stones.plant(f"email:{blamed[0].command.email}", 4_000_000_000_000)
    [verdict] = lineup.plan()
    assert emails([verdict]) == [[blamed[1].command.email]]
    assert list(verdict_of(verdict)) == [blamed[1].key]


def verdict_of(batch):
    ledger = Ledger()
    assert list(batch.converse(ledger)) == []
    return ledger.outcomes


def test_a_line_up_waits_for_looks_at_jobs(rooms_of):
    before = rooms_of()
    in_a_job(before, "followed")
    before.lane.note_server_error(TURNS_SUSPICIOUS, 20, time.time())
    rooms = rooms_of()
    rooms.ship(*people(20))
    assert endpoints(rooms.plan()) == [limits.GET_IMPORT_JOB]


def test_a_line_up_goes_on_beside_its_own_imports_without_what_they_could_undo(rooms_of):
    rooms_of().lane.note_server_error(TURNS_SUSPICIOUS, 100, time.time())
    rooms = rooms_of()
    rooms.ship(*people(20), person("p0", first_name="Grace"))
    [first] = rooms.plan()
    rooms.stray_watch.add({"import:1": rooms.clock.now()}, first.entries)
    rooms.land(first, Delivered())
    [others] = rooms.plan()
    assert emails([first, others]) == [["p0@x.io"], [f"p{number}@x.io" for number in range(1, 20)]]
    rooms.land(others, Delivered())
    # What is newer of the first person waits until an import of theirs would have appeared.
    assert rooms.plan() == []
    assert rooms.turn.snooze.reason == Reason.STRAY_JOB


def test_a_line_up_waits_for_the_look_for_an_import_of_an_earlier_turn(rooms_of):
    before = rooms_of()
    before.lane.note_server_error(TURNS_SUSPICIOUS, 20, time.time())
    rooms = rooms_of(imports={"import:a": time.time() - 20})
    rooms.ship(*people(20))
    [look] = rooms.plan()
    assert look.endpoint == limits.GET_IMPORT_JOBS
    rooms.land(look)
    [first] = rooms.plan()
    assert (len(first.entries), rooms.suspicion.is_searching) == (1, True)
