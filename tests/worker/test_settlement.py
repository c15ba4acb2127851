"""The settlement: outcomes as the script's arguments, and records that outlive releases."""

from __future__ import annotations

import json

import msgspec
import pytest

from klaviyo_relay import Identify
from klaviyo_relay_worker import settlement
from klaviyo_relay_worker.outcome import (
    Dead,
    Delivered,
    Dropped,
    Failure,
    Following,
    Parked,
    Parking,
    Rule,
)
from klaviyo_relay_worker.plan.batch import Exchange, Facts

NOW = 1_000.0
WHY = Failure(status=400, code="invalid", detail="ada@x.io is wrong")
FACTS = Facts(accepted=Exchange("POST /api/x", 202), refused=Exchange("POST /api/y", 400))


def operations(*settled):
    return settlement.operations("default:profiles", settled, NOW, FACTS)


@pytest.fixture
def entries(talk):
    return talk.entries(*(Identify(email=f"p{n}@x.io", first_name="Ada") for n in range(3)))


def test_many_commands_with_one_outcome_are_one_operation(entries):
    what, _, number, *keys = operations(*((entry, Delivered()) for entry in entries))
    assert (what, number, keys) == ("delivered", 3, [entry.key for entry in entries])


def test_commands_are_dropped_by_their_rules(entries):
    first, second, third = entries
    found = operations(
        (first, Dropped(Rule.FORGOTTEN)),
        (second, Dropped(Rule.SUPERSEDED)),
        (third, Dropped(Rule.FORGOTTEN)),
    )
    assert [one for one in found if not isinstance(one, bytes)] == [
        "dropped", Rule.FORGOTTEN, 2, first.key, third.key,
        "dropped", Rule.SUPERSEDED, 1, second.key,
    ]  # fmt: skip


def test_the_journal_has_none_of_klaviyos_words(entries):
    *_, letter, why = operations((entries[0], Dead(WHY)))
    assert b"is wrong" in letter
    assert b"ada" not in why
    assert json.loads(why)["code"] == "invalid"


def test_a_refusal_counts_as_an_attempt_and_a_wait_does_not(entries):
    for failure, attempts in ((WHY, 1), (None, 0)):
        outcome = Parked(2_000.5, Parking.SERVER_ERROR, failure)
        what, key, identity, record, due, _ = operations((entries[0], outcome))
        assert (what, key, due) == ("parked", entries[0].key, 2_000_500)
        again = settlement.decode_parked(record).entry()
        assert (again.attempts, again.parked_at) == (attempts, NOW)
        assert again.envelope.id == identity


def test_a_command_that_is_parked_again_keeps_the_day_it_was_parked_first(entries):
    entry = msgspec.structs.replace(entries[0], parked_at=77.0)
    record = operations((entry, Parked(2_000.0, Parking.UNKNOWN_LIST)))[3]
    assert settlement.decode_parked(record).since == 77.0


@pytest.mark.parametrize(
    ("reason", "is_redriven"), [(Parking.CHECKED_AGAIN, False), (Parking.IN_FLIGHT, True)]
)
def test_a_redriven_command_is_redriven_until_klaviyo_has_taken_it(entries, reason, is_redriven):
    entry = msgspec.structs.replace(entries[0], is_redriven=True)
    record = operations((entry, Parked(2_000.0, reason)))[3]
    assert settlement.decode_parked(record).is_redriven is is_redriven


def test_the_rows_of_a_job_are_added_behind_the_end_of_its_record(entries):
    what, job, head, due, _, number, *rest = operations(
        *((entry, Following("JOB", row)) for row, entry in enumerate(entries))
    )
    assert (what, job, due, number) == ("following", "JOB", 1_000_500, 3)
    # As `settle.lua` puts them together.
    record = settlement.decode_job(head[:-2] + b",".join(rest[1::2]) + b"]}")
    assert [entry.envelope.id for [entry] in record.parts()] == [one.envelope.id for one in entries]


def test_a_row_of_a_job_remembers_its_attempts_and_that_it_was_redriven(entries):
    entry = msgspec.structs.replace(entries[0], attempts=2, is_redriven=True)
    *_, head, _, _, _, _, row = operations((entry, Following("JOB", 0)))
    record = settlement.decode_job(head[:-2] + row + b"]}")
    [[again]] = record.parts()
    assert (again.attempts, again.is_redriven) == (2, True)


@pytest.mark.parametrize("age", [0.0, 1.0, 60.0, 90_000.0])
def test_an_old_job_is_looked_at_less_often_and_still_twice_a_minute(age):
    wait = settlement.next_look(NOW - age, NOW) - NOW
    assert 0.5 <= wait <= 30.0
    assert wait == pytest.approx(min(30.0, max(0.5, age / 4)))


NEWER = b'{"envelope":{"verb":"newer"},"since":7}'


@pytest.mark.parametrize("stored", [b"", b"[]", b"\xff", NEWER])
def test_what_another_release_wrote_is_none_and_never_an_exception(stored):
    assert settlement.read_parked(stored) is None
    assert settlement.read_job(stored) is None
    assert settlement.since_of_job(stored) == (7.0 if stored == NEWER else 0.0)
    outline = settlement.outline_of(stored)
    assert bytes(outline.envelope) == (b'{"verb":"newer"}' if stored == NEWER else stored)


def test_a_parked_command_that_cannot_be_read_is_buried_under_its_own_id():
    stored = b'{"envelope":{"id":"x","verb":"newer"},"reason":"server_error","since":7}'
    what, key, identity, letter, _ = settlement.bury_parked("a:b", "x", stored, "why", NOW)
    assert (what, key, identity) == ("dead", "p:x", "x")
    assert json.loads(letter)["message"] == '{"id":"x","verb":"newer"}'
