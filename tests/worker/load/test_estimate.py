"""The estimate: how long Klaviyo takes at least, by the limit that bounds each kind."""

from __future__ import annotations

import pytest

from klaviyo_relay import AddToList, Identify, RemoveFromList, Track
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.load.estimate import seconds_for

BULK_A_MINUTE = limits.RATE_LIMITS[limits.BULK_CREATE_EVENTS].minute


def test_nothing_takes_no_time():
    assert seconds_for({}, 500.0) == 0


def test_a_minutes_worth_of_full_requests_takes_a_minute():
    assert seconds_for({Track: 1_000 * BULK_A_MINUTE}, 500.0) == pytest.approx(60)


def test_large_commands_fill_a_request_by_bytes():
    assert seconds_for({Track: 10 * BULK_A_MINUTE}, 450_000.0) > 50
    assert seconds_for({Track: BULK_A_MINUTE}, 100_000_000.0) == pytest.approx(60)


def test_kinds_that_share_an_endpoint_share_its_limit():
    alone = seconds_for({Identify: 1_000_000}, 100.0)
    assert seconds_for({Identify: 1_000_000, AddToList: 1_000_000}, 100.0) == pytest.approx(
        2 * alone
    )


def test_kinds_of_different_endpoints_go_at_the_same_time():
    events, removals = {Track: 1_000_000}, {RemoveFromList: 1_000_000}
    longer = max(seconds_for(events, 100.0), seconds_for(removals, 100.0))
    assert seconds_for({**events, **removals}, 100.0) == longer
