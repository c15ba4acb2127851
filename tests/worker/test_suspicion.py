"""Suspicion: what a command that Klaviyo fails with comes to, and after how long."""

from __future__ import annotations

import time

import msgspec
import pytest

from klaviyo_relay import Track
from klaviyo_relay_worker.courier import Returned
from klaviyo_relay_worker.lane import Lane, LaneState
from klaviyo_relay_worker.outcome import Dead, Parked, Snooze
from klaviyo_relay_worker.plan.batch import Batch, Ledger
from klaviyo_relay_worker.suspicion import TURNS_SUSPICIOUS, Suspicion

DAYS = 3 * 86_400.0


@pytest.fixture
def lane(redis, keys):
    return Lane(redis, keys, "default", "events")


def returned(*entries, status=500):
    snooze = Snooze(1.0, "outage", is_failure=True, status=status) if status else None
    return Returned(Batch("POST /api/events", entries, lambda _: iter(())), Ledger(), snooze)


def suspicion(lane, state=None, paused=0.0):
    state = LaneState() if state is None else state
    return Suspicion(lane, state, DAYS, paused_seconds=paused, is_up=False)


def lonely(talk, parked_days, paused_before=0.0):
    """A command that goes by itself and was parked so long ago."""
    entry = talk.entry(Track(metric="M", email="a@x.io"), parked=True, attempts=4)
    parked_at = time.time() - parked_days * 86_400
    return msgspec.structs.replace(
        entry, is_alone=True, parked_at=parked_at, paused_before=paused_before
    )


def verdict(lane, entry, paused=0.0):
    judged = suspicion(lane, paused=paused).judge(returned(entry))
    assert judged.snooze is None, "one command that goes by itself must not hold its lane"
    [outcome] = judged.ledger.outcomes.values()
    return outcome


@pytest.mark.parametrize(("days", "kind"), [(2.9, Parked), (3.1, Dead)])
def test_a_command_that_klaviyo_fails_with_is_tried_for_three_days(talk, lane, days, kind):
    assert isinstance(verdict(lane, lonely(talk, days)), kind)


def test_days_that_the_lane_was_paused_do_not_count(talk, lane):
    entry = lonely(talk, 5, paused_before=100.0)
    assert isinstance(verdict(lane, entry, paused=100.0 + 2.5 * 86_400), Parked)
    assert isinstance(verdict(lane, entry, paused=100.0 + 1.5 * 86_400), Dead)


@pytest.mark.parametrize("status", [0, 429, 503, 401])
def test_what_is_klaviyos_alone_arouses_no_suspicion(talk, lane, status):
    judged = suspicion(lane).judge(returned(lonely(talk, 9), status=status))
    assert judged.ledger.outcomes == {}


def test_turns_that_end_with_server_errors_add_up_and_an_answer_forgets_them(talk, lane):
    entries = [talk.entry(Track(metric="M", email=f"p{n}@x.io")) for n in range(5)]
    for turn in range(1, TURNS_SUSPICIOUS + 1):
        one = suspicion(lane, lane.state())
        assert not one.is_searching
        one.end(one.judge(returned(*entries)).snooze)
        assert lane.state().server_errors == turn
    assert lane.state().failing == 5
    one = suspicion(lane, lane.state())
    assert one.is_searching
    one.judge(returned(*entries, status=None))
    one.end(None)
    assert lane.state().server_errors == 0
