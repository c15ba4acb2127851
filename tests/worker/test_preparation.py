"""The terms of a turn: how often Klaviyo has failed, and whether it works for others meanwhile."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.breaker import BreakerState
from klaviyo_relay_worker.lane import LaneState
from klaviyo_relay_worker.preparation import Terms


def terms(*, lane=0, family=0, failing_since=0.0, succeeded=0.0):
    return Terms(
        state=LaneState(failures=lane, failing_since=failing_since),
        breaker=BreakerState(now=100.0, failures=family, succeeded=succeeded),
        is_probe=False,
        is_draining=lambda: False,
        is_allowed=lambda: True,
        parked_seconds=1.0,
        paused_seconds=0.0,
    )


@pytest.mark.parametrize(("lane", "family", "failures"), [(0, 0, 0), (3, 1, 3), (1, 4, 4)])
def test_the_lane_waits_by_its_own_failures_or_those_of_its_family(lane, family, failures):
    assert terms(lane=lane, family=family).failures == failures


@pytest.mark.parametrize(
    ("failing_since", "succeeded", "is_up"),
    [(0.0, 50.0, False), (50.0, 0.0, False), (50.0, 50.0, False), (50.0, 50.1, True)],
    ids=["does not fail", "no answer", "answers before", "answers since"],
)
def test_klaviyo_is_up_if_others_got_answers_since_this_lane_fails(failing_since, succeeded, is_up):
    assert terms(failing_since=failing_since, succeeded=succeeded).is_up is is_up
