"""The stray watch: an import that may be under way unseen is waited for, and nothing is sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from klaviyo_relay import Identify
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.flights import Errand
from klaviyo_relay_worker.limits import GET_IMPORT_JOBS
from klaviyo_relay_worker.outcome import Failure, Following, Reason, Snooze
from klaviyo_relay_worker.plan import imports, strays
from klaviyo_relay_worker.plan.batch import Batch, Ledger
from klaviyo_relay_worker.settings import REQUEST_SECONDS_MOST
from rooms import ACCOUNT, Rooms
from settled_lanes import SettledLane

MESSAGE = encode(
    Envelope(id=new_id(), account=ACCOUNT, at=1, command=Identify(email="a@x.io", first_name="A"))
)


@pytest.fixture
def rooms_of(redis):
    """Rooms whose lane has notes about imports, sent so many seconds ago."""
    made = []

    def make(*ages):
        rooms = Rooms(redis)
        for age in ages:
            rooms.lane.note_import(time.time() - age)
        made.append(Rooms(redis, imports=rooms.lane.state().imports))
        made.append(rooms)
        return made[0]

    yield make
    for one in made:
        list(one.flights.end())
        one.senders.shutdown()


def look(rooms):
    return list(rooms.stray_watch.errands())


def back(errand, strays=0, snooze=None):
    errand.settle(Returned(errand.batch, Ledger(strays=strays), snooze))


def notes(rooms):
    return len(rooms.lane.state().imports)


def test_without_notes_there_is_nothing_to_watch(rooms_of):
    rooms = rooms_of()
    assert not rooms.stray_watch.is_on
    assert not rooms.stray_watch.is_blind


def test_a_look_that_finds_no_job_ends_the_watch(rooms_of):
    rooms = rooms_of(25, 20)
    assert rooms.stray_watch.is_on
    [errand] = look(rooms)
    assert errand.batch.endpoint == GET_IMPORT_JOBS
    back(errand)
    assert not rooms.stray_watch.is_on
    assert notes(rooms) == 0
    assert rooms.turn.snooze is None


def test_a_job_that_may_be_ours_lets_the_lane_wait(rooms_of):
    rooms = rooms_of(20)
    [errand] = look(rooms)
    back(errand, strays=1)
    assert (rooms.turn.snooze.reason, notes(rooms)) == (Reason.STRAY_JOB, 1)
    assert rooms.stray_watch.is_on


def test_a_job_that_another_lane_follows_is_none_of_ours(rooms_of, redis, talk):
    rooms = rooms_of(20)
    other = SettledLane(redis, lane="profiles:bulk", account=ACCOUNT)
    LaneEntrance(redis, Keys(), 10**9).ship(other.lane.name, "test", [(1, MESSAGE)])
    other.settle(Following("THEIRS", 0))
    [errand] = look(rooms)
    now = datetime.now(UTC).isoformat()
    jobs = [{"id": identity, "attributes": {"created_at": now}} for identity in ("THEIRS", "X")]
    ledger, _ = talk.converse(errand.batch, lambda _: talk.answer(200, {"data": jobs}))
    assert ledger.strays == 1


def test_a_look_that_klaviyo_refuses_keeps_the_watch_and_says_so(rooms_of, caplog):
    rooms = rooms_of(20)
    [errand] = look(rooms)
    refusal = Failure(status=400, code="invalid")
    errand.settle(Returned(errand.batch, Ledger(look_refused=refusal), None))
    assert rooms.stray_watch.is_on
    assert (rooms.turn.snooze.reason, rooms.turn.snooze.seconds) == (Reason.STRAY_JOB, 60)
    assert "Klaviyo refuses the look at its import jobs: 400 invalid" in caplog.text


def test_a_look_that_met_an_outage_says_nothing(rooms_of):
    rooms = rooms_of(20)
    [errand] = look(rooms)
    back(errand, snooze=Snooze(1.0, "outage", is_failure=True))
    assert rooms.stray_watch.is_on
    assert notes(rooms) == 1


def test_it_waits_for_what_is_in_flight(rooms_of):
    rooms = rooms_of(20)
    rooms.flights.send(Errand(Batch("", (), lambda _: iter(())), lambda _: None))
    assert look(rooms) == []


def test_it_waits_for_quota(rooms_of):
    rooms = rooms_of(20)
    rooms.accounts.quota.throttled(ACCOUNT, GET_IMPORT_JOBS, 30)
    assert look(rooms) == []
    assert rooms.stray_watch.is_on


def test_no_look_is_made_before_such_a_job_would_have_appeared(rooms_of):
    rooms = rooms_of(20, 5)
    assert look(rooms) == []
    assert rooms.turn.snooze.reason == Reason.STRAY_JOB
    assert rooms.turn.snooze.seconds == pytest.approx(strays.APPEARS_SECONDS - 5, abs=2)
    assert notes(rooms) == 2


def test_what_an_import_of_an_earlier_turn_carried_nobody_knows(rooms_of):
    rooms = rooms_of(20)
    assert rooms.stray_watch.is_blind
    back(*look(rooms))
    assert not rooms.stray_watch.is_blind


def test_harmless_is_what_the_import_carried_and_whom_it_does_not_concern(rooms_of):
    rooms = rooms_of()
    rooms.ship(Identify(email="a@x.io"), Identify(email="A@x.io"), Identify(email="b@x.io"))
    first, later_of_same, other = rooms.intake.waiting
    rooms.stray_watch.add({}, [other])
    rooms.stray_watch.add({"import:1": rooms.clock.now()}, [first])
    assert rooms.stray_watch.harmless([first, later_of_same, other]) == [first, other]


def test_a_note_that_is_a_day_old_is_forgotten_unasked(rooms_of):
    rooms = rooms_of(imports.UNFINISHED_SECONDS + 60)
    assert look(rooms) == []
    assert not rooms.stray_watch.is_on
    assert notes(rooms) == 0


def jobs_of(*ages, identity="STRAY"):
    """Klaviyo's answer: unfinished jobs that were made so many seconds ago."""
    created = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age)) for age in ages)
    return {"data": [{"id": identity, "attributes": {"created_at": at}} for at in created]}


@pytest.mark.parametrize(
    ("age", "strays"),
    [(300, 1), (900, 0), (300 - REQUEST_SECONDS_MOST - 90, 0)],
    ids=["of that moment", "older", "newer"],
)
def test_only_jobs_of_the_moment_of_the_import_count(rooms_of, talk, age, strays):
    rooms = rooms_of(300)
    [errand] = look(rooms)
    ledger, _ = talk.converse(errand.batch, lambda _: talk.answer(200, jobs_of(age)))
    assert ledger.strays == strays


def test_a_job_that_is_followed_is_no_stray(rooms_of, talk):
    rooms = rooms_of(300)
    rooms.ship(Identify(email="a@x.io"))
    errand = rooms.dispatch.errand(Batch("", rooms.intake.waiting, lambda _: iter(())))
    ledger = Ledger()
    ledger.settle(errand.batch.entries, Following("JOB", 0))
    errand.settle(Returned(errand.batch, ledger, None))
    [errand] = look(rooms)
    answer = talk.answer(200, jobs_of(300, identity="JOB"))
    ledger, _ = talk.converse(errand.batch, lambda _: answer)
    assert ledger.strays == 0


def test_an_import_of_this_turn_whose_fate_is_unknown_is_watched_for(rooms_of):
    rooms = rooms_of()
    rooms.ship(Identify(email="a@x.io"), Identify(email="b@x.io"))
    now = rooms.clock.now() - strays.APPEARS_SECONDS
    note = rooms.lane.note_import(now)
    errand = rooms.dispatch.errand(Batch("", rooms.intake.waiting[:1], lambda _: iter(())))
    errand.settle(Returned(errand.batch, Ledger(unsure={note: now}), None))
    assert rooms.stray_watch.is_on
    [sent] = rooms.plan()
    assert sent.endpoint == GET_IMPORT_JOBS
    rooms.land(sent)
    assert not rooms.stray_watch.is_on
    assert notes(rooms) == 0
