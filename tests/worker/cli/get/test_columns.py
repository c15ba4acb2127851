"""The columns: every field of every kind is shown."""

from __future__ import annotations

import csv
import io
import json

import pytest

from klaviyo_relay_worker.cli.get.columns import EVENTS, LISTS, MEMBERS, METRICS, PROFILES, SEGMENTS
from klaviyo_relay_worker.cli.get.formats import Csv, Details, Table
from klaviyo_relay_worker.klaviyo.resources import (
    Event,
    MailingList,
    Metric,
    Profile,
    Segment,
)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (
            PROFILES,
            Profile(id="1", subscriptions={"email": {"marketing": {"consent": "SUBSCRIBED"}}}),
        ),
        (MEMBERS, Profile(id="1", more={"new": 1})),
        (EVENTS, Event(id="1")),
        (METRICS, Metric(id="1", integration={"name": "API"})),
        (LISTS, MailingList(id="1", more={"profile_count": "of another type"})),
        (SEGMENTS, Segment(id="1")),
    ],
    ids=["profiles", "members", "events", "metrics", "lists", "segments"],
)
def test_all_kinds_can_be_shown_with_hardly_anything_known(kind, item):
    [record] = csv.DictReader(
        io.StringIO(Csv(kind.csv, has_header=True, is_for_eyes=False).page([item]))
    )
    assert record["id"] == "1"
    assert json.loads(record["more"]) == item.more
    assert Table(kind.table, 80).page([item]).splitlines()[1].strip()
    assert "id" in Details(kind.csv, is_for_eyes=True).page([item]).split()
    for one in item.__struct_fields__:
        assert one in [column.name for column in kind.csv] or one == "timestamp"
