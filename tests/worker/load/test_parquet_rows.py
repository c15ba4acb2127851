"""Rows of Parquet: with their types, from any position, and broken files told."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyarrow import parquet

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.mapping import Mapping
from klaviyo_relay_worker.load.parquet_rows import ParquetRows
from rows_in_memory import all_rows

ROWS = 50
ORDERS = Mapping(verb="track", constants={"metric": "Placed Order"})


@pytest.fixture(scope="module")
def content():
    """Fifty rows in groups of seven."""
    at = pa.array([1_769_860_800_123_456_789] * ROWS, pa.timestamp("ns", tz="UTC"))
    table = pa.table({"number": range(ROWS), "at": at, "tags": [["a"], None] * (ROWS // 2)})
    output = io.BytesIO()
    parquet.write_table(table, output, row_group_size=7)
    return output.getvalue()


def reader_of(content):
    return ParquetRows(io.BytesIO(content))


def test_cells_have_their_own_types(content):
    reader = reader_of(content)
    assert reader.columns == ("number", "at", "tags")
    first, second = reader.read(2)
    assert first == (1, (0, datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC), ["a"]))
    assert second[1][2] is None


@pytest.mark.parametrize("most", [1, 3, 7, 100])
@pytest.mark.parametrize("row", range(0, ROWS + 1, 3))
def test_it_goes_on_from_any_row_as_if_it_had_not_stopped(content, row, most):
    reader = reader_of(content)
    reader.seek(Position(0, row, row))
    found = all_rows(reader, most)
    assert [line for line, _ in found] == list(range(row + 1, ROWS + 1))
    assert [cells[0] for _, cells in found] == list(range(row, ROWS))
    assert (reader.position, reader.share) == (Position(0, ROWS, ROWS), 1.0)


def test_no_chunk_is_longer_than_asked(content):
    reader = reader_of(content)
    while rows := reader.read(3):
        assert len(rows) <= 3


def late_orders():
    """Three orders, of which the second ends after the year 9999, and the third has no amount."""
    output = io.BytesIO()
    until = pa.array([0, 2**62, 0], pa.timestamp("us", tz="UTC"))
    emails = [f"p{number}@shop.io" for number in range(3)]
    table = pa.table({"email": emails, "until": until, "value": [1.5, 2.5, float("nan")]})
    parquet.write_table(table, output)
    return output.getvalue()


def test_a_cell_that_python_cannot_hold_is_one_refused_row(desk):
    [(line, field, reason)] = desk.refusals(late_orders(), file="orders.parquet")

    assert (line, field) == (2, "properties.until")
    assert "year 9999" in reason


@pytest.mark.parametrize(
    "more", [{"ignore": ("until",)}, {"ignore_others": True}], ids=["ignored", "of the others"]
)
def test_a_cell_that_nobody_wants_refuses_no_row(desk, more):
    assert desk.refusals(late_orders(), replace(ORDERS, **more), file="orders.parquet") == []


def test_an_unreadable_key_is_no_key(desk):
    mapping = replace(ORDERS, key="until", ignore=("until",))

    assert [one[:2] for one in desk.refusals(late_orders(), mapping, file="orders.parquet")] == [
        (2, "until")
    ]


def test_nan_is_absent_as_in_frames(desk):
    order = desk.order(
        desk.write(late_orders(), "orders.parquet"), replace(ORDERS, ignore=("until",))
    )
    found, _ = desk.preview(order)

    assert [one.get("value") for one in found] == [1.5, 2.5, None]


def test_columns_of_one_name_are_refused_before_any_row(desk):
    output = io.BytesIO()
    parquet.write_table(pa.table([["a@shop.io"], ["b@shop.io"]], names=["email", "email"]), output)

    with pytest.raises(UsageFaultsError, match="'email' is there 2 times"):
        desk.refusals(output.getvalue(), ORDERS, file="orders.parquet")


def test_what_is_no_parquet_file_is_said():
    with pytest.raises(LoadError, match="no Parquet file"):
        reader_of(b"email,total\n")


def test_a_damaged_file_is_said_with_the_row_behind_which_it_is():
    output = io.BytesIO()
    table = pa.table({"text": [f"{number:0100}" for number in range(2_000)]})
    parquet.write_table(table, output, row_group_size=500, compression="none", use_dictionary=False)
    content = bytearray(output.getvalue())
    # The first groups and the footer are whole.
    content[120_000:150_000] = b"\xff" * 30_000
    reader = reader_of(bytes(content))
    assert len(reader.read(500)) == 500
    with pytest.raises(LoadError, match=r"damaged behind row (500|1000)"):
        all_rows(reader, 500)
