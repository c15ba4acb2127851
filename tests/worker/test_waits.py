"""Waits: a time that lies too far ahead was noted by another clock."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.retry import RETRY_AFTER_MOST_SECONDS
from klaviyo_relay_worker.waits import seconds_ahead, snooze_left

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("when", "left"), [(0.0, 0.0), (NOW - 1, 0.0), (NOW + 7, 7.0), (NOW + 10, 10.0), (NOW + 11, 0)]
)
def test_a_time_counts_as_far_as_a_wait_of_its_kind_may_last(when, left):
    assert seconds_ahead(when, NOW, 10.0) == left


def test_a_lane_snoozes_as_long_as_klaviyo_may_ask_for_and_not_for_an_hour():
    assert snooze_left(NOW, NOW + RETRY_AFTER_MOST_SECONDS + 0.25, NOW) > RETRY_AFTER_MOST_SECONDS
    assert snooze_left(NOW, NOW + 3_600, NOW) == 0


@pytest.mark.parametrize("passed", [0, 2_750, 3_590, 3_610])
def test_a_snooze_by_a_clock_that_was_set_back_an_hour_is_over_and_stays_so(passed):
    assert snooze_left(NOW + 3_600, NOW + 3_605, NOW + passed) == 0


def test_servers_whose_clocks_differ_by_a_moment_end_no_snooze():
    assert snooze_left(NOW + 0.1, NOW + 5, NOW) == 5
