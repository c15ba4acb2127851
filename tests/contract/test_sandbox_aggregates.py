"""Counts of events: intervals, dimensions, filters, pages, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from klaviyo_relay_worker.sandbox import Sandbox

AGGREGATES = "/api/metric-aggregates"
DAYS = ("2026-11-20T00:00:00", "2026-11-23T00:00:00")


@pytest.fixture
def metric(api: Any, make: Any) -> str:
    """The id of a metric with four events of two people in three days."""
    for number, (email, day, value, url) in enumerate(
        [
            ("ada@shop.io", "20T10:00:00Z", 1.5, "/tea"),
            ("ada@shop.io", "20T12:00:00Z", 2.0, "/cake"),
            ("bob@shop.io", "20T23:30:00Z", 4.0, "/tea"),
            ("ada@shop.io", "22T00:00:00Z", None, None),
        ]
    ):
        properties = {"URL": url, "Segment Count": number, "Campaign Name": "May, (new)"}
        more = {"value": value, "value_currency": "EUR"} if value else {}
        event = make.event(
            email, name="Viewed", time=f"2026-11-{day}", properties=properties, **more
        )
        assert api.post("/api/events", event).status_code == 202
    api.post("/api/events", make.event(name="Other", time="2026-11-20T10:00:00Z"))
    metrics = {one["attributes"]["name"]: one["id"] for one in api.get("/api/metrics")["data"]}
    return metrics["Viewed"]


def counted(api: Any, body: Any) -> tuple[list[str], dict[tuple[str, ...], Any]]:
    """The dates, and the measurements by dimensions."""
    answer = api.post(AGGREGATES, body)
    assert answer.status_code == 200, answer.text
    attributes = answer.json()["data"]["attributes"]
    rows = {tuple(one["dimensions"]): one["measurements"] for one in attributes["data"]}
    return attributes["dates"], rows


@pytest.fixture
def counted_in_november(api: Any, make: Any, metric: str) -> Callable[..., list[str]]:
    """Gives the dates for a range within November 2026."""

    def dates(span: tuple[str, str], **more: Any) -> list[str]:
        since, until = (f"2026-11-{one}" for one in span)
        return counted(api, make.aggregate(metric, since, until, **more))[0]

    return dates


def test_events_are_counted_by_day_unless_said_otherwise(api: Any, make: Any, metric: str) -> None:
    measurements = ["unique", "sum_value", "count"]
    dates, rows = counted(api, make.aggregate(metric, *DAYS, measurements=measurements))
    assert dates == [f"2026-11-{day}T00:00:00+00:00" for day in (20, 21, 22)]
    assert rows == {
        (): {"count": [3, 0, 1], "sum_value": [7.5, 0.0, 0.0], "unique": [2, 0, 1]},
    }


def test_where_nothing_happened_there_are_zeros_but_no_groups(
    api: Any, make: Any, metric: str
) -> None:
    span = ("2025-01-01T00:00:00", "2025-01-03T00:00:00")
    assert counted(api, make.aggregate(metric, *span))[1] == {(): {"count": [0, 0]}}
    assert counted(api, make.aggregate(metric, *span, by=["URL"]))[1] == {}


@pytest.mark.parametrize(
    ("interval", "zone", "span", "hours"),
    [
        ("day", "UTC", ("20T15:00:00", "21T00:00:01"), ["20T00", "21T00"]),
        ("day", "US/Eastern", ("20T00:00:00", "21T00:00:00"), ["20T05"]),
        ("day", "US/Eastern", ("20T00:00:00Z", "21T00:00:00Z"), ["19T05", "20T05"]),
        ("hour", "UTC", ("20T22:10:00", "21T00:00:00"), ["20T22", "20T23"]),
        ("week", "UTC", ("20T00:00:00", "24T00:00:00"), ["16T00", "23T00"]),
        ("month", "UTC", ("20T00:00:00", "24T00:00:00"), ["01T00"]),
    ],
)
def test_a_date_is_where_an_interval_begins_in_the_time_zone_and_is_told_in_utc(
    counted_in_november: Any, interval: str, zone: str, span: tuple[str, str], hours: list[str]
) -> None:
    dates = counted_in_november(span, interval=interval, timezone=zone)
    assert dates == [f"2026-11-{hour}:00:00+00:00" for hour in hours]


def test_a_day_on_which_clocks_turn_has_its_own_length(api: Any, make: Any, metric: str) -> None:
    span = ("2026-10-25T00:00:00", "2026-10-27T00:00:00")
    dates, _ = counted(api, make.aggregate(metric, *span, timezone="Europe/Berlin"))
    assert dates == ["2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00"]
    hours, _ = counted(
        api, make.aggregate(metric, *span, timezone="Europe/Berlin", interval="hour")
    )
    assert len(hours) == 49


def test_months_are_those_of_the_calendar(api: Any, make: Any, metric: str) -> None:
    body = make.aggregate(metric, "2026-01-31T00:00:00", "2026-04-01T00:00:00", interval="month")
    assert [one[:10] for one in counted(api, body)[0]] == ["2026-01-01", "2026-02-01", "2026-03-01"]


def test_an_event_before_the_range_does_not_count_though_its_interval_does(
    api: Any, make: Any, metric: str
) -> None:
    body = make.aggregate(metric, "2026-11-20T11:00:00", "2026-11-20T23:30:00")
    assert counted(api, body) == (["2026-11-20T00:00:00+00:00"], {(): {"count": [1]}})


def test_events_are_grouped_by_the_properties_of_these_names(
    api: Any, make: Any, metric: str
) -> None:
    by = ["$value_currency", "URL"]
    _, rows = counted(api, make.aggregate(metric, *DAYS, by=by))
    assert list(rows.items()) == [
        (("", ""), {"count": [0, 0, 1]}),
        (("EUR", "/cake"), {"count": [1, 0, 0]}),
        (("EUR", "/tea"), {"count": [2, 0, 0]}),
    ]
    _, rows = counted(api, make.aggregate(metric, *DAYS, by=["Segment Count"]))
    assert list(rows) == [("0",), ("1",), ("2",), ("3",)]


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ('equals(URL,"/tea")', 2),
        ('equals(URL,"")', 1),
        ('any(URL,["/tea","/cake"])', 3),
        ('equals("Campaign Name","May, (new)")', 4),
        ('equals("Campaign Name","May")', 0),
        ('and(equals(URL,"/tea"),equals($value_currency,"EUR"))', 2),
        ("equals('Segment Count','2')", 1),
    ],
)
def test_events_are_filtered_by_dimensions(
    api: Any, make: Any, metric: str, condition: str, count: int
) -> None:
    _, rows = counted(api, make.aggregate(metric, *DAYS, condition))
    assert sum(rows[()]["count"]) == count


def test_the_cursor_goes_into_the_query_or_into_the_body(api: Any, make: Any, metric: str) -> None:
    urls = [*map(str, range(700)), "\u00fc"]
    entries = [
        make.entry(
            name="Viewed", time="2026-11-21T10:00:00Z", unique_id=url, properties={"URL": url}
        )
        for url in urls
    ]
    api.post("/api/event-bulk-create-jobs", make.bulk(*entries))
    body = make.aggregate(metric, *DAYS, by=["URL"])
    first = api.post(AGGREGATES, body).json()
    following = first["links"]["next"].removeprefix(api.url)
    second = api.post(following, body).json()
    body["data"]["attributes"]["page_cursor"] = following.partition("=")[2].replace("%3D", "=")
    assert api.post(AGGREGATES, body).json()["data"]["attributes"] == second["data"]["attributes"]
    seen = [
        row["dimensions"][0]
        for page in (first, second)
        for row in page["data"]["attributes"]["data"]
    ]
    assert len(first["data"]["attributes"]["data"]) == 500
    assert seen == sorted({"", "/cake", "/tea", *urls})
    assert second["links"] == {"self": api.url + following, "next": None, "prev": None}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"metric_id": None}, "metric_id"),
        ({"measurements": []}, "measurements"),
        ({"measurements": ["count", "average"]}, "measurements/1"),
        ({"by": ["URL", "colour"]}, "by/1"),
        ({"interval": "year"}, "interval"),
        ({"page_size": 499}, "page_size"),
        ({"page_cursor": "nonsense"}, "page_cursor"),
        ({"sort": "count"}, "sort"),
        ({"timezone": "Mars"}, "timezone"),
        ({"timezone": "europe"}, "timezone"),
        ({"timezone": "Europe/Kyiv"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"where": []}, "where"),
        ({"filter": []}, "filter"),
        ({"filter": ["greater-or-equal(datetime,2026-01-01T00:00:00)"]}, "filter"),
        ({"filter": ["less-than(datetime,2026-01-01T00:00:00)"]}, "filter"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(
    api: Any, make: Any, metric: str, changes: dict[str, Any], pointer: str
) -> None:
    body = make.aggregate(metric, *DAYS)
    body["data"]["attributes"].update(changes)
    assert api.pointers(AGGREGATES, body) == [f"/data/attributes/{pointer}"]


@pytest.mark.parametrize(
    "span",
    [
        ("2026-01-01T00:00:00", "2027-01-01T00:00:01"),
        ("2026-01-02T00:00:00", "2026-01-01T00:00:00"),
        ("2021-01-01T00:00:00", "2021-01-02T00:00:00"),
        ("1795341840", "1795341940"),
        ("soon", "2026-01-02T00:00:00"),
    ],
)
def test_a_range_of_time_that_klaviyo_does_not_take_is_refused(
    api: Any, make: Any, metric: str, span: tuple[str, str]
) -> None:
    assert api.pointers(AGGREGATES, make.aggregate(metric, *span)) == ["/data/attributes/filter"]


@pytest.mark.parametrize(
    "condition",
    [
        'equals(colour,"red")',
        'contains(URL,"t")',
        'not(equals(URL,"t"))',
        'equals(URL,"t"',
        "less-than(datetime,2026-11-21T00:00:00)",
        "greater-than(datetime,2026-11-21T00:00:00)",
    ],
)
def test_a_filter_that_klaviyo_does_not_take_is_refused(
    api: Any, make: Any, metric: str, condition: str
) -> None:
    body = make.aggregate(metric, *DAYS, condition)
    assert api.pointers(AGGREGATES, body) == ["/data/attributes/filter"]


def test_a_whole_year_is_taken_a_leap_year_too(api: Any, make: Any, metric: str) -> None:
    dates, _ = counted(api, make.aggregate(metric, "2026-01-01T00:00:00", "2027-01-01T00:00:00"))
    assert len(dates) == 365
    dates, _ = counted(api, make.aggregate(metric, "2024-01-01T00:00:00", "2025-01-01T00:00:00"))
    assert len(dates) == 366
    dates, _ = counted(api, make.aggregate(metric, "2024-02-29T00:00:00", "2025-02-28T00:00:00"))
    assert len(dates) == 365


def test_an_unknown_metric_is_not_found(api: Any, make: Any) -> None:
    body = make.aggregate("NOPE01", *DAYS)
    assert api.pointers(AGGREGATES, body, 404) == ["/data/attributes/metric_id"]


def test_only_the_fields_that_are_asked_for_are_answered(api: Any, make: Any, metric: str) -> None:
    params = {"fields[metric-aggregate]": "dates"}
    answer = api.post(AGGREGATES, make.aggregate(metric, *DAYS), params=params).json()
    assert list(answer["data"]["attributes"]) == ["dates"]


def test_counting_is_no_change_of_the_account(
    make: Any, clock: Any, api: Any, tmp_path: Any
) -> None:
    with Sandbox(limits=False, clock=clock, record=tmp_path / "record") as sandbox:
        recorded = type(api)(sandbox.url)
        recorded.post("/api/events", make.event(name="Viewed"))
        before = (tmp_path / "record").read_bytes()
        [metric] = recorded.get("/api/metrics")["data"]
        assert recorded.post(AGGREGATES, make.aggregate(metric["id"], *DAYS)).status_code == 200
        assert (tmp_path / "record").read_bytes() == before
