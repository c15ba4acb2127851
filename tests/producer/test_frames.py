"""Frames of any library, and of none, as commands."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from klaviyo_relay import (
    AddToList,
    Identify,
    InvalidCommandError,
    Producer,
    Subscribe,
    Suppress,
    Track,
)
from klaviyo_relay.frames import commands

ROWS = [
    {
        "customer": "ada@lovelace.dev", "total": 23.5, "order": 17, "color": "red",
        "at": datetime(2026, 1, 31, 12, tzinfo=UTC),
    },
    {
        "customer": "bob@lovelace.dev", "total": None, "order": 18, "color": None,
        "at": datetime(2026, 1, 31, 13, tzinfo=UTC),
    },
]  # fmt: skip
COLUMNS = {"email": "customer", "value": "total", "unique_id": "order", "time": "at"}


def pandas_frame():
    return pd.DataFrame(ROWS)


def polars_frame():
    return pl.DataFrame(ROWS)


def arrow_table():
    return pa.Table.from_pylist(ROWS)


def arrow_batch():
    return pa.RecordBatch.from_pylist(ROWS)


FRAMES = {
    "pandas": pandas_frame,
    "polars": polars_frame,
    "pyarrow": arrow_table,
    "a record batch": arrow_batch,
    "a reader of record batches": lambda: arrow_table().to_reader(max_chunksize=1),
    "mappings": lambda: ROWS,
    "a generator": lambda: (row for row in ROWS),
}


@pytest.mark.parametrize("library", FRAMES)
def test_rows_become_commands_whatever_library_holds_them(library):
    found = list(commands(FRAMES[library](), Track, metric="Placed Order", columns=COLUMNS))

    assert found == [
        Track(
            metric="Placed Order", email="ada@lovelace.dev", value=23.5, unique_id="17",
            time="2026-01-31T12:00:00Z", properties={"color": "red"},
        ),
        Track(
            metric="Placed Order", email="bob@lovelace.dev", unique_id="18",
            time="2026-01-31T13:00:00Z",
        ),
    ]  # fmt: skip


def test_what_pandas_has_in_place_of_a_value_is_absent():
    frame = pd.DataFrame(
        {
            "email": ["ada@lovelace.dev"],
            "first_name": pd.array([pd.NA], dtype="string"),
            "age": pd.array([pd.NA], dtype="Int64"),
            "since": [pd.NaT],
            "score": [float("nan")],
        }
    )

    assert list(commands(frame, Identify)) == [Identify(email="ada@lovelace.dev")]


def test_numbers_and_arrays_of_numpy_are_plain_values():
    row = {
        "email": "ada@lovelace.dev",
        "external_id": np.int64(7),
        "score": np.float32(0.5),
        "vip": np.bool_(True),  # noqa: FBT003 - a value, not a switch
        "tags": np.array(["a", "b"]),
    }

    assert list(commands([row], Identify)) == [
        Identify(
            email="ada@lovelace.dev", external_id="7",
            properties={"score": 0.5, "vip": True, "tags": ["a", "b"]},
        )
    ]  # fmt: skip


@pytest.mark.parametrize("library", [pandas_frame, polars_frame, arrow_table])
def test_a_time_becomes_a_property_whatever_library_holds_it(library):
    found = commands(library(), Identify, columns={"email": "customer"}, properties=["at"])

    assert [one.properties for one in found] == [
        {"at": "2026-01-31T12:00:00+00:00"},
        {"at": "2026-01-31T13:00:00+00:00"},
    ]


def test_times_have_microseconds_and_no_more():
    at = "2026-01-31T12:00:00.123456789"
    frame = pd.DataFrame(
        {
            "email": ["ada@lovelace.dev"],
            "time": pd.to_datetime([f"{at}Z"]),
            "placed": pd.to_datetime([at]),
        }
    )

    [found] = commands(frame, Track, metric="Placed Order")

    assert found.time == "2026-01-31T12:00:00.123456Z"
    assert found.properties == {"placed": "2026-01-31T12:00:00.123456"}


def test_times_of_numpy_are_times_and_no_bare_numbers():
    at = np.datetime64("2026-01-31T12:00:00.123456789", "ns")
    row = {
        "email": "ada@lovelace.dev",
        "at": at,
        "all": np.array([at]),
        "none": np.datetime64("NaT"),
    }

    [found] = commands([row], Identify)

    text = "2026-01-31T12:00:00.123456"
    assert found.properties == {"at": text, "all": [text]}


@pytest.mark.parametrize(
    "span",
    [pd.Timedelta("1s"), np.timedelta64(1_000_000_000, "ns"), pd.Period("2026-01")],
    ids=["pandas' Timedelta", "numpy's timedelta64", "pandas' Period"],
)
def test_what_is_a_span_of_time_is_refused(span):
    with pytest.raises(InvalidCommandError, match=r"properties.span: is a"):
        list(commands([{"email": "ada@lovelace.dev", "span": span}], Identify))


@pytest.mark.parametrize(
    ("columns", "field"),
    [({}, "row 2: properties.placed"), ({"time": "placed"}, "row 2: time")],
    ids=["a property", "a field"],
)
def test_a_cell_of_arrow_that_python_cannot_hold_is_a_bad_row(columns, field):
    late = pa.array([None, 2**62], pa.timestamp("us", tz="UTC"))
    frame = pa.table({"email": ["ada@lovelace.dev", "bob@lovelace.dev"], "placed": late})

    with pytest.raises(InvalidCommandError, match="year 9999") as caught:
        list(commands(frame, Track, metric="Placed Order", columns=columns))
    assert caught.value.field == field


def test_a_cell_of_arrow_that_nobody_wants_harms_nobody():
    late = pa.array([2**62], pa.timestamp("us", tz="UTC"))
    frame = pa.table({"email": ["ada@lovelace.dev"], "placed": late})

    assert list(commands(frame, Identify, properties=[])) == [Identify(email="ada@lovelace.dev")]


def test_uuids_are_ids_as_numbers_are():
    key = UUID("8c6f0ad3-7a0c-4a57-8e45-3a3c2f4f1a10")

    assert list(commands([{"external_id": key, "order": key}], Identify)) == [
        Identify(external_id=str(key), properties={"order": str(key)})
    ]


def test_a_column_with_the_name_of_a_field_needs_no_word():
    rows = [{"email": "ada@lovelace.dev", "first_name": "Ada"}]

    assert list(commands(rows, Identify)) == [Identify(email="ada@lovelace.dev", first_name="Ada")]


def test_columns_without_a_use_are_refused_at_once_by_a_kind_without_properties():
    frame = pd.DataFrame({"email": ["ada@lovelace.dev"], "consented_att": ["2020-01-31T12:00:00Z"]})

    with pytest.raises(InvalidCommandError, match="Subscribe takes no properties") as caught:
        commands(frame, Subscribe)
    assert caught.value.field == "consented_att"


def test_what_a_row_has_and_its_kind_has_not_is_refused_when_it_is_reached():
    rows = [
        {"email": "ada@lovelace.dev", "consented_att": None},
        {"email": "bob@lovelace.dev", "consented_att": "2020-01-31T12:00:00Z"},
    ]
    found = commands(rows, Subscribe)

    assert next(found) == Subscribe(email="ada@lovelace.dev")
    with pytest.raises(InvalidCommandError, match="Subscribe takes no properties") as caught:
        next(found)
    assert caught.value.field == "row 2: consented_att"


@pytest.mark.parametrize("library", [iter, pd.DataFrame], ids=["mappings", "a frame"])
def test_a_kind_without_properties_leaves_others_out_where_that_is_said(library):
    frame = library([{"email": "ada@lovelace.dev", "color": "red"}])

    assert list(commands(frame, AddToList, properties=[], list_id="Y6nRLr")) == [
        AddToList(list_id="Y6nRLr", email="ada@lovelace.dev")
    ]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([["ada@lovelace.dev", "bob@lovelace.dev"]], columns=["email", "email"]),
        pa.table([["ada@lovelace.dev"], ["bob@lovelace.dev"]], names=["email", "email"]),
        pd.DataFrame([["ada@lovelace.dev", 5, 6]], columns=["email", 1, "1"]),
    ],
    ids=["pandas", "pyarrow", "names that are one as text"],
)
def test_a_column_that_is_there_twice_is_refused_at_once(frame):
    with pytest.raises(InvalidCommandError, match=r"frame: has the column .+ 2 times"):
        commands(frame, Identify)


def test_properties_that_are_none_are_refused():
    rows = [{"email": "ada@lovelace.dev", "properties": "red", "size": "M"}]

    with pytest.raises(InvalidCommandError, match="row 1: properties: must be a dict"):
        list(commands(rows, Identify))


def test_only_the_named_columns_become_properties():
    rows = [{"email": "ada@lovelace.dev", "color": "red", "note": "private"}]

    [found] = commands(rows, Identify, properties=["color"])

    assert found.properties == {"color": "red"}


def test_a_column_of_properties_goes_together_with_the_others():
    rows = [{"email": "ada@lovelace.dev", "properties": {"size": "M"}, "color": "red"}]

    [found] = commands(rows, Identify)

    assert found.properties == {"size": "M", "color": "red"}


def test_a_bad_row_raises_with_its_number_when_it_is_reached():
    rows = [{"email": "ada@lovelace.dev"}, {"email": "nobody"}, {"email": "bob@lovelace.dev"}]
    found = commands(rows, Identify)

    assert next(found).email == "ada@lovelace.dev"
    with pytest.raises(InvalidCommandError) as caught:
        next(found)
    assert caught.value.field == "row 2: email"
    assert "nobody" not in str(caught.value)


def test_bad_rows_are_told_and_left_out():
    rows = [{"email": "nobody"}, {"email": "ada@lovelace.dev"}, {"name": "nobody"}]
    refused = []

    found = list(commands(rows, Identify, on_refused=lambda *told: refused.append(told)))

    assert [one.email for one in found] == ["ada@lovelace.dev"]
    assert [(row, error.field) for row, error in refused] == [
        (1, "email"),
        (3, "email | phone_number | external_id | profile_id"),
    ]


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"columns": {"email": "mail"}}, "email", "no column mail; there are customer"),
        ({"properties": ["size"]}, "properties", "no column size"),
        ({"columns": {"mail": "customer"}}, "mail", "known are metric, email"),
        ({"amount": 5}, "amount", "known are metric"),
        ({"kind": Suppress, "properties": ["total"]}, "properties", "Suppress takes none"),
    ],
)
def test_a_wrong_mapping_is_said_at_once(wrong, field, said):
    class Table:
        columns = ("customer", "total")

        def iter_rows(self):
            raise AssertionError("no row is to be read")

    with pytest.raises(InvalidCommandError) as caught:
        commands(Table(), **{"kind": Track, **wrong})
    assert caught.value.field == field
    assert said in caught.value.rule


@pytest.mark.parametrize("frame", [None, 5, "rows", {"email": "ada@lovelace.dev"}])
def test_what_has_no_rows_is_refused(frame):
    with pytest.raises(InvalidCommandError, match="frame: must have"):
        commands(frame, Identify)


def test_rows_that_are_no_mappings_are_refused_when_they_are_reached():
    with pytest.raises(InvalidCommandError, match="frame: must have"):
        list(commands([("ada@lovelace.dev",)], Identify))


def test_a_frame_goes_into_the_lanes_and_once_only(relay_settings, redis):
    producer = Producer(relay_settings)
    frame = [{"email": f"p{at}@shop.io"} for at in range(1_200)]

    first = producer.enqueue_many(commands(frame, Identify), source="people")
    again = producer.enqueue_many(commands(frame, Identify), source="people")

    assert (first.given, first.added, again.added) == (1_200, 1_200, 0)
    assert redis.xlen("kr:{default:profiles:bulk}:stream") == 1_200
