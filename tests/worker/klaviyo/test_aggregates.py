"""Numbers of a metric, by the sandbox and by what a query says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

import openapi
from klaviyo_relay_worker.errors import NotFoundError, RefusedError
from klaviyo_relay_worker.klaviyo import aggregates
from klaviyo_relay_worker.klaviyo.aggregates import AggregateQuery, cursor_after

SPAN = {"start": "2026-01-01", "end": "2026-01-04"}


@pytest.fixture
def orders(account):
    """Orders of three people in three days, each of three campaigns' pages."""
    days = ["2026-01-01T10:00:00Z", "2026-01-01T23:30:00Z", "2026-01-02T10:00:00Z"]
    for number, (who, day, url) in enumerate(
        [("ada", 0, "/a"), ("bob", 0, "/b"), ("ada", 1, "/a"), ("ada", 2, "/a"), ("clo", 2, "/b")]
    ):
        account.event(
            f"{who}@shop.io",
            time=days[day],
            value=10.0 + number,
            unique_id=str(number),
            properties={"URL": url},
        )


def test_events_profiles_and_values_are_counted_by_day(reader, orders):
    found = reader.metrics.aggregate(
        metric="Placed Order", **SPAN, measurements=("count", "unique", "sum_value")
    )
    assert found.dates == [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    [row] = found.rows
    assert row.dimensions == ()
    assert row.measurements == {
        "count": [3, 2, 0],
        "unique": [2, 2, 0],
        "sum_value": [33, 27, 0],
    }
    assert (row.total(), row.total("sum_value")) == (5, 60)


def test_days_begin_where_the_time_zone_says(reader, orders):
    berlin = reader.metrics.aggregate(
        metric="Placed Order",
        start="2026-01-01T00:00:00+01:00",
        end="2026-01-03T00:00:00+01:00",
        timezone="Europe/Berlin",
    )
    assert [row.measurements["count"] for row in berlin.rows] == [[2, 3]]


def test_groups_and_conditions(reader, orders):
    grouped = reader.metrics.aggregate(metric="Placed Order", **SPAN, by=["URL"])
    assert {row.dimensions: row.total() for row in grouped.rows} == {("/a",): 3, ("/b",): 2}
    some = reader.metrics.aggregate(metric="Placed Order", **SPAN, where={"URL": "/b"})
    assert [row.total() for row in some.rows] == [2]
    either = reader.metrics.aggregate(metric="Placed Order", **SPAN, where={"URL": ["/a", "/b"]})
    assert [row.total() for row in either.rows] == [5]


def test_groups_come_over_several_pages_and_may_be_fewer(reader, account):
    for number in range(520):
        account.event(
            "ada@shop.io",
            time="2026-01-01T10:00:00Z",
            unique_id=str(number),
            properties={"URL": f"/{number:03}"},
        )
    found = reader.metrics.aggregate(metric="Placed Order", **SPAN, by=["URL"])
    assert [row.dimensions for row in found.rows] == [(f"/{at:03}",) for at in range(520)]
    few = reader.metrics.aggregate(metric="Placed Order", **SPAN, by=["URL"], count=7)
    assert len(few.rows) == 7


def test_an_unknown_metric_and_a_span_that_klaviyo_refuses(reader, orders):
    with pytest.raises((NotFoundError, RefusedError)):
        reader.metrics.aggregate(metric_id="ABCDEF", **SPAN)
    with pytest.raises(RefusedError) as caught:
        reader.metrics.aggregate(metric="Placed Order", start="2020-01-01", end="2026-01-01")
    assert caught.value.failures[0].pointer


def test_times_go_without_offset_in_the_zone_of_the_query():
    query = AggregateQuery(
        start=datetime(2026, 7, 1, tzinfo=UTC),
        end=datetime(2026, 7, 2, tzinfo=UTC),
        timezone="America/New_York",
        where={"Campaign Name": 'The "best"'},
    )
    attributes = json.loads(query.request("ABCDEF").body)["data"]["attributes"]
    assert attributes["filter"] == [
        "greater-or-equal(datetime,2026-06-30T20:00:00)",
        "less-than(datetime,2026-07-01T20:00:00)",
        'equals("Campaign Name","The \\"best\\"")',
    ]
    assert attributes["timezone"] == "America/New_York"


@pytest.mark.parametrize(
    ("document", "cursor"),
    [
        ({"links": {"next": "https://x.io/api/metric-aggregates?page_cursor=a%3D"}}, "a="),
        ({"links": {"next": "https://x.io/api/metric-aggregates?page%5Bcursor%5D=b"}}, "b"),
        ({"data": {"links": {"next": "https://x.io/?page_cursor=c"}}}, "c"),
        ({"links": {"next": None}, "data": {}}, None),
        ({"data": {}}, None),
    ],
)
def test_the_next_page_is_found_wherever_klaviyo_names_it(document, cursor):
    assert cursor_after(document) == cursor


def test_the_dimensions_are_those_of_the_openapi_document():
    schema = openapi.document()["components"]["schemas"]
    known = schema["MetricAggregateQueryResourceObject"]["properties"]["attributes"]["properties"]
    assert set(known["by"]["items"]["enum"]) == aggregates.DIMENSIONS
    assert set(known["interval"]["enum"]) == set(aggregates.INTERVALS)
    assert set(known["measurements"]["items"]["enum"]) == set(aggregates.MEASUREMENTS)
