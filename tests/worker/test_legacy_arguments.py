"""Arguments of the retired API's reads, and what they are today."""

from datetime import UTC, datetime, timedelta

import pytest

from klaviyo_relay_worker.errors import InvalidArgumentError
from klaviyo_relay_worker.legacy_arguments import (
    Start,
    condition_of,
    days_of,
    measurement_of,
    start_of,
)

AT = 1_700_000_000
MOMENT = datetime.fromtimestamp(AT, UTC)


@pytest.mark.parametrize(
    ("since", "start"),
    [
        (None, Start(None, None)),
        (AT, Start(AT, None)),
        (float(AT), Start(AT, None)),
        (str(AT), Start(AT, None)),
        ("bmV4dDo6=", Start(None, "bmV4dDo6=")),
        (f"{AT}-bmV4dDo6=", Start(AT, "bmV4dDo6=")),
    ],
)
def test_since_is_a_time_or_the_next_of_an_answer(since, start):
    assert start_of(since) == start
    if start.cursor is not None:
        assert start.following(start.cursor) == since


@pytest.mark.parametrize(
    "since",
    ["5b1e7a52-8b0c-11ec-8001-0242ac120002", "12345678-8b0c-11ec-8001-0242ac120002", "", [], -1],
)
def test_a_uuid_or_nonsense_is_refused(since):
    with pytest.raises(InvalidArgumentError, match=r"since: must be Unix seconds"):
        start_of(since)


def test_a_time_that_no_clock_shows_is_refused():
    with pytest.raises(InvalidArgumentError, match="since"):
        Start(10**15, None).span("asc")


def test_since_limits_upwards_or_downwards_by_the_sort():
    assert Start(AT, None).span("asc") == (MOMENT, None)
    assert Start(AT, None).span("desc") == (None, MOMENT + timedelta(seconds=1))
    assert Start(None, "c").span("desc") == (None, None)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "count"),
        ("unique", "unique"),
        ("value", "sum_value"),
        ("sum", "sum_value"),
        (["sum", "$value"], "sum_value"),
        ('["sum", "$value"]', "sum_value"),
    ],
)
def test_a_measurement_is_known_by_its_old_name(given, name):
    assert measurement_of(given) == name


@pytest.mark.parametrize("given", ["mean", ["sum", "ItemCount"], "[oops", ["count", "unique"]])
def test_a_measurement_that_is_gone_is_refused(given):
    with pytest.raises(InvalidArgumentError, match="measurement"):
        measurement_of(given)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (None, {}),
        ([["$flow", "=", "X"]], {"$flow": "X"}),
        ('[["$flow", "=", "X"]]', {"$flow": "X"}),
    ],
)
def test_a_condition_is_taken_apart_as_it_was_written(given, where):
    assert condition_of(given) == where


@pytest.mark.parametrize("given", [[["$flow", ">", "X"]], [["$flow"]], "$flow", 7])
def test_a_condition_of_another_form_is_refused(given):
    with pytest.raises(InvalidArgumentError, match="where"):
        condition_of(given)


def test_an_export_is_of_the_days_that_it_names():
    assert days_of(AT, str(AT)) == (MOMENT, MOMENT)
    assert days_of("2026-01-31", "2026-02-02") == ("2026-01-31", "2026-02-02")
    start, end = days_of(None, None)
    assert end - start == timedelta(days=30)
    for one in ((AT, None), (None, AT), (1e300, AT)):
        with pytest.raises(InvalidArgumentError, match="date"):
            days_of(*one)
