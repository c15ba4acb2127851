"""Bad arguments: refused by name before anything is asked."""

from __future__ import annotations

from datetime import datetime

import pytest

from klaviyo_relay_worker.errors import (
    InvalidArgumentError,
)

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


BAD = {
    "emails": lambda reader: reader.lists.members("ABCDEF", emails=[]),
    "emails[1]": lambda reader: reader.profiles.all(emails=[ADA, "no address"]),
    "phone_numbers[0]": lambda reader: reader.profiles.all(phone_numbers=["500"]),
    "push_tokens": lambda reader: reader.lists.members("ABCDEF", push_tokens="one"),
    "list_id": lambda reader: reader.lists.get("not an id"),
    "list_id | list_name": lambda reader: reader.lists.members("ABCDEF", list_name="News"),
    "segment_id | segment_name": lambda reader: reader.segments.members(),
    "profile_id": lambda reader: reader.profiles.get(""),
    "email | phone_number | external_id": lambda reader: reader.profiles.id_of(),
    "sort": lambda reader: reader.events.all(sort="newest"),
    "since": lambda reader: reader.events.all(since=1_700_000_000),
    "until": lambda reader: reader.events.all(until=datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
    "count": lambda reader: reader.events.all(count=0),
    "channel": lambda reader: reader.lists.subscribers("ABCDEF", channel="fax"),
    "reason": lambda reader: reader.profiles.suppressed(reason="NOPE"),
    "cursor": lambda reader: reader.profiles.all(emails=[ADA], cursor="c"),
    "metric_id | metric": lambda reader: reader.metrics.aggregate(
        start="2026-01-01", end="2026-02-01"
    ),
    "end": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-02-01", end="2026-01-01"
    ),
    "interval": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", interval="year"
    ),
    "measurements": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", measurements=["value"]
    ),
    "by": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", by=["color"]
    ),
    "where": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", where={"$city": "Bonn"}
    ),
    "timezone": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", timezone="Mars/Olympus"
    ),
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_input_names_the_argument_and_asks_nothing(reader, sandbox, argument):
    with pytest.raises(InvalidArgumentError) as caught:
        BAD[argument](reader)
    assert caught.value.argument == argument
    assert ADA not in str(caught.value)
    assert sandbox.summary()["requests"] == {}


SPAN = {"metric_id": "A", "start": "2026-01-01", "end": "2026-02-01"}
OF_ANOTHER_TYPE = {
    "a count in words": ("count", lambda reader: reader.events.all(count="ten")),
    "a count of members in words": (
        "count",
        lambda reader: reader.lists.members("ABCDEF", count="ten"),
    ),
    "one number for many": ("phone_numbers", lambda reader: reader.profiles.all(phone_numbers=5)),
    "a metric's name that is a list": ("metric", lambda reader: reader.metrics.id_of(["Order"])),
    "a condition that is a number": (
        "where",
        lambda reader: reader.metrics.aggregate(**SPAN, where={"$value_currency": 5}),
    ),
    "a condition with a number among texts": (
        "where",
        lambda reader: reader.metrics.aggregate(**SPAN, where={"URL": ["/a", 5]}),
    ),
    "a condition that nothing meets": (
        "where",
        lambda reader: reader.metrics.aggregate(**SPAN, where={"URL": []}),
    ),
    "conditions as the retired API took them": (
        "where",
        lambda reader: reader.metrics.aggregate(**SPAN, where=[["URL", "=", "/a"]]),
    ),
    "one dimension for many": ("by", lambda reader: reader.metrics.aggregate(**SPAN, by="URL")),
    "no dimensions": ("by", lambda reader: reader.metrics.aggregate(**SPAN, by=None)),
    "a dimension that is a list": (
        "by",
        lambda reader: reader.metrics.aggregate(**SPAN, by=[["URL"]]),
    ),
    "one measurement for many": (
        "measurements",
        lambda reader: reader.metrics.aggregate(**SPAN, measurements="count"),
    ),
    "a number of measurements": (
        "measurements",
        lambda reader: reader.metrics.aggregate(**SPAN, measurements=1),
    ),
    "a time zone that is a number": (
        "timezone",
        lambda reader: reader.metrics.aggregate(**SPAN, timezone=1),
    ),
}


@pytest.mark.parametrize(("argument", "read"), OF_ANOTHER_TYPE.values(), ids=OF_ANOTHER_TYPE.keys())
def test_what_is_of_another_type_is_refused_by_name_as_well(reader, sandbox, argument, read):
    with pytest.raises(InvalidArgumentError) as caught:
        read(reader)
    assert caught.value.argument == argument
    assert sandbox.summary()["requests"] == {}
