"""Rows of NDJSON: resumed at any line, and what is no object told."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.ndjson_rows import NdjsonRows
from klaviyo_relay_worker.load.rows import LINE_MOST, Broken
from rows_in_memory import all_rows, reader_of


def test_ndjson_goes_on_from_any_position():
    content = b'{"a": 1}\n\n{"a": 2}\nnonsense\n[1]\n{"a": 3}'
    whole = all_rows(reader_of(content, NdjsonRows))
    assert [line for line, _ in whole] == [1, 3, 4, 5, 6]
    assert [type(row) for _, row in whole] == [dict, dict, Broken, Broken, dict]
    first = reader_of(content, NdjsonRows)
    before = first.read(3)
    second = reader_of(content, NdjsonRows)
    second.seek(first.position)
    assert before + all_rows(second) == whole


@pytest.mark.parametrize(
    "content",
    [b'[\n {"a": 1},\n {"a": 2}\n]\n', b'\xef\xbb\xbf\n [{"a": 1}]', b"[]"],
    ids=["over lines", "behind a byte order mark", "empty"],
)
def test_one_array_instead_of_lines_is_said_and_nothing_of_it_loaded(content):
    with pytest.raises(UsageFaultsError, match=r"an object on each line, as jq -c '\.\[\]' makes"):
        reader_of(content, NdjsonRows)


def test_a_line_without_end_is_one_broken_row():
    content = b'{"a": "' + b"x" * (2 * LINE_MOST) + b'"}\n{"a": 3}\n'
    rows = all_rows(reader_of(content, NdjsonRows))
    assert [(line, type(row)) for line, row in rows] == [(1, Broken), (2, dict)]
