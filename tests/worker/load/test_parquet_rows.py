"""Rows of Parquet: with their types, from any position, and broken files told."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from pyarrow import parquet

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.parquet_rows import ParquetRows
from rows_in_memory import all_rows

ROWS = 50


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
