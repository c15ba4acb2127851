"""Columns of Arrow: values that Python has, and cells that it cannot hold one by one."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pyarrow as pa
import pytest

from klaviyo_relay.arrow_columns import Cells, Unreadable, cells_of

NANOSECONDS = 1_769_860_800_123_456_789
AT = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
MOMENT = pa.timestamp("ns", tz="UTC")
TOO_LATE = 2**62


@pytest.mark.parametrize(
    ("kind", "given", "cell"),
    [
        (MOMENT, NANOSECONDS, AT),
        (pa.list_(MOMENT), [NANOSECONDS, None], [AT, None]),
        (pa.large_list(MOMENT), [NANOSECONDS], [AT]),
        (pa.list_(MOMENT, 1), [NANOSECONDS], [AT]),
        (pa.struct({"at": MOMENT}), {"at": NANOSECONDS}, {"at": AT}),
        (pa.list_(pa.struct({"at": MOMENT})), [{"at": NANOSECONDS}], [{"at": AT}]),
        (pa.map_(pa.string(), MOMENT), [("at", NANOSECONDS)], [("at", AT)]),
        (pa.time64("ns"), 123_456_789, time(0, 0, 0, 123_456)),
        (pa.duration("ns"), 123_456_789, timedelta(microseconds=123_456)),
    ],
    ids=str,
)  # fmt: skip
def test_nanoseconds_become_microseconds_wherever_they_are(kind, given, cell):
    assert cells_of(pa.array([given, None], kind)) == Cells([cell, None])


def test_a_dictionary_of_nanoseconds_is_taken_apart():
    assert cells_of(pa.array([NANOSECONDS] * 2, MOMENT).dictionary_encode()).values == [AT, AT]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_nan_is_absent(kind):
    assert cells_of(pa.array([0.5, float("nan"), None], kind)).values == [0.5, None, None]


@pytest.mark.parametrize(
    ("kind", "early", "found"),
    [
        (pa.timestamp("us"), 0, datetime(1970, 1, 1)),  # noqa: DTZ001 - that is the case
        (pa.timestamp("s", tz="UTC"), 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (pa.duration("s"), 1, timedelta(seconds=1)),
        (pa.list_(pa.timestamp("ms", tz="UTC")), [0], [datetime(1970, 1, 1, tzinfo=UTC)]),
    ],
    ids=str,
)
def test_a_cell_beyond_pythons_years_harms_no_other(kind, early, found):
    late = [TOO_LATE] if pa.types.is_list(kind) else TOO_LATE

    (first, second, third), unreadable = cells_of(pa.array([early, late, None], kind))

    assert (first, third, unreadable) == (found, None, (1,))
    assert "year 9999" in second.rule


def test_text_that_is_none_harms_no_other():
    """Arrow takes on trust what a file says is text."""
    offsets, letters = pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, letters])

    assert cells_of(column) == Cells(["a", Unreadable("is not UTF-8")], unreadable=(1,))
