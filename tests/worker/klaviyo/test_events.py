"""Reads of events: timelines, and nobody known told from nothing found."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from klaviyo_relay_worker.errors import (
    NotFoundError,
)

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_a_timeline_is_read_in_both_directions_and_between_times(reader, account):
    for hour in range(5):
        account.event(ADA, time=f"2026-01-01T0{hour}:00:00Z", unique_id=str(hour), value=1.5)
    account.event(BOB, time="2026-01-01T02:00:00Z")
    profile_id = reader.profiles.id_of(email=ADA)

    def ids(**asked):
        return "".join(one.unique_id for one in reader.events.all(profile_id=profile_id, **asked))

    assert ids() == "43210"
    assert ids(sort="asc") == "01234"
    assert ids(sort="asc", count=2) == "01"
    middle = {"since": "2026-01-01T01:00:00Z", "until": datetime(2026, 1, 1, 3, tzinfo=UTC)}
    assert ids(sort="asc", **middle) == "12"


def test_an_event_tells_its_metric_its_profile_and_its_amount(reader, account):
    account.event(ADA, value=9.5, value_currency="EUR", properties={"size": "M"}, unique_id="u")
    [found] = reader.events.all(metric="Placed Order")
    assert (found.metric, found.metric_id) == ("Placed Order", reader.metrics.id_of("Placed Order"))
    assert found.profile_id == reader.profiles.id_of(email=ADA)
    assert (found.value, found.value_currency, found.unique_id) == (9.5, "EUR", "u")
    assert found.event_properties["size"] == "M"


def test_nothing_found_is_told_from_nobody_known(reader, account):
    profile_id = account.person(ADA)
    assert list(reader.events.all(profile_id=profile_id)) == []
    with pytest.raises(NotFoundError, match=r"^profile_id: "):
        list(reader.events.all(profile_id="01ABC"))
    with pytest.raises(NotFoundError, match=r"^metric_id: "):
        list(reader.events.all(metric_id="ABCDEF"))
