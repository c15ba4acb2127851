"""Following: an import job is looked at when its time has come, until it has ended."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import Identify
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.limits import GET_IMPORT_ERRORS, GET_IMPORT_JOB
from klaviyo_relay_worker.outcome import Delivered, Following, Snooze
from klaviyo_relay_worker.plan import imports
from klaviyo_relay_worker.plan.batch import Ledger
from klaviyo_relay_worker.plan.imports import Reading
from rooms import ACCOUNT, Rooms


class Followed(Rooms):
    """Rooms of a lane with an import job of two people."""

    def __init__(self, redis, *, age=10.0):
        super().__init__(redis)
        self.ship(*(Identify(email=f"{name}@x.io") for name in "ab"))
        for row, entry in enumerate(self.held.read()):
            self.held.settle(Following("JOB", row), [entry], at=self.clock.now() - age)
        self.is_due(at=0)
        self.intake = type(self.intake)(self.lane, self.lease, self.admission)
        self.follow = type(self.follow)(
            self.lane, self.lease, self.clock, self.readings,
            admission=self.admission, intake=self.intake, clearance=self.clearance,
        )  # fmt: skip
        self.intake.fill(self.clock.now())

    def is_due(self, *, at):
        self.redis.zadd(self.lane.keys.due, {"job:JOB": at * 1000})

    def due_at(self):
        found = self.redis.zscore(self.lane.keys.due, "job:JOB")
        return None if found is None else found / 1000

    def look(self):
        self.intake.fill(self.clock.now())
        return list(self.follow.errands())


@pytest.fixture
def rooms_of(redis):
    made = []

    def make(**more):
        made.append(Followed(redis, **more))
        return made[-1]

    yield make
    for one in made:
        one.senders.shutdown()


@pytest.fixture
def rooms(rooms_of):
    return rooms_of()


def back(errand, outcome_of, snooze=None):
    ledger = Ledger()
    for row, entry in enumerate(errand.batch.entries):
        if outcome_of is not None:
            ledger.settle((entry,), outcome_of(row))
    errand.settle(Returned(errand.batch, ledger, snooze))


def still_runs(row):
    return Following("JOB", row)


def is_done(_row):
    return Delivered()


def test_a_job_whose_time_has_come_is_looked_at_once(rooms):
    [errand] = rooms.look()
    assert errand.batch.endpoint == GET_IMPORT_JOB
    assert len(errand.batch.entries) == 2
    assert rooms.look() == [], "looked at while a look is in flight"


def test_a_job_whose_time_has_not_come_is_left_alone(rooms):
    rooms.is_due(at=4e9)
    assert rooms.look() == []


def test_a_look_needs_quota(rooms):
    rooms.accounts.quota.throttled(ACCOUNT, GET_IMPORT_JOB, 0.3)
    assert rooms.look() == []
    assert rooms.clearance.wait_in_place(has_waiting=False)
    assert len(rooms.look()) == 1


def test_a_job_that_still_runs_is_looked_at_later_and_holds_its_people(rooms):
    [errand] = rooms.look()
    back(errand, still_runs)
    assert rooms.numbers() == {"following": 2}
    assert rooms.intake.held() == {"email:a@x.io", "email:b@x.io"}
    assert rooms.due_at() > time.time()
    rooms.is_due(at=0)
    assert len(rooms.look()) == 1


def test_a_job_that_has_ended_holds_nobody(rooms):
    [errand] = rooms.look()
    back(errand, is_done)
    assert rooms.numbers() == {"delivered": 2}
    assert rooms.intake.held() == frozenset()
    assert rooms.due_at() is None


def test_a_look_that_met_an_outage_says_nothing_of_the_job(rooms):
    [errand] = rooms.look()
    back(errand, None, Snooze(1.0, "outage", is_failure=True))
    assert rooms.numbers() == {"following": 2}
    assert rooms.intake.held() == {"email:a@x.io", "email:b@x.io"}
    assert rooms.due_at() > time.time()


def test_a_look_goes_on_with_what_the_looks_before_have_read(rooms):
    page = Request(endpoint=GET_IMPORT_ERRORS, path="/next")
    rooms.readings["JOB"] = Reading(failed=200, page=page)
    [errand] = rooms.look()
    assert errand.batch.endpoint == GET_IMPORT_ERRORS
    assert next(errand.batch.converse(Ledger())) == page
    back(errand, None, Snooze(1.0, "quota"))
    rooms.look()
    assert list(rooms.readings) == ["JOB"]


def test_what_was_read_of_a_job_is_forgotten_once_it_is_settled(rooms):
    [errand] = rooms.look()
    rooms.readings["JOB"] = Reading(failed=0, page=None)
    back(errand, is_done)
    rooms.look()
    assert rooms.readings == {}


@pytest.mark.parametrize(("age", "is_told"), [(3_500, False), (3_700, True)])
def test_a_job_that_does_not_end_is_told_of(rooms_of, caplog, age, is_told):
    assert 3_500 < imports.LATE_SECONDS < 3_700
    [_] = rooms_of(age=age).look()
    assert ("has not ended" in caplog.text) is is_told
    assert ("2 commands wait for it" in caplog.text) is is_told


def test_a_late_job_is_told_of_with_each_look_and_not_while_none_can_go(rooms_of, caplog):
    rooms = rooms_of(age=3_700)
    rooms.is_draining = True
    assert rooms.look() == []
    rooms.is_draining = False
    rooms.accounts.quota.throttled(ACCOUNT, GET_IMPORT_JOB, 0.3)
    assert rooms.look() == []
    assert "has not ended" not in caplog.text
    assert rooms.clearance.wait_in_place(has_waiting=False)
    [_] = rooms.look()
    assert caplog.text.count("has not ended") == 1
