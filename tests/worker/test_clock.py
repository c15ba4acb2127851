"""The clock: a machine's own clock may jump, and no lane waits longer or shorter for it."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay_worker import judge
from klaviyo_relay_worker.clock import Clock


def test_it_goes_on_from_the_time_it_was_told():
    clock = Clock(1_800_000_000.0)
    first, second = clock.now(), clock.now()
    assert 1_800_000_000.0 <= first <= second < 1_800_000_060.0


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_what_a_worker_whose_clock_jumped_writes_down_is_right_for_the_others(
    house, sandbox, tracks, monkeypatch, jump
):
    real = time.time
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.3)
    sandbox.set_faults([{"status": 503, "times": 1}])
    sandbox.configure(import_delay_seconds=0.3)
    house.enqueue(*tracks(10))
    with monkeypatch.context() as jumped:
        jumped.setattr(time, "time", lambda: real() + jump)
        house.turn()
    assert house.lanes()["events"]["waits_for"] == "outage"
    house.work_off(5)
    assert house.numbers("events") == {"delivered": 10}
