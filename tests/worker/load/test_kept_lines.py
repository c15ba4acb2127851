"""Kept lines: read again as often as needed, until they are forgotten."""

from __future__ import annotations

import csv
import io
from itertools import islice

import pytest

from klaviyo_relay_worker.load.kept_lines import KeptLines
from klaviyo_relay_worker.load.rows import Bytes

CONTENT = b"".join(b"line %d\r\n" % number for number in range(1_000))


@pytest.fixture
def lines():
    data = Bytes(io.BufferedReader(io.BytesIO(CONTENT)), len(CONTENT))
    return KeptLines(data, "utf-8", 0, len(CONTENT))


def test_lines_are_read_again_from_any_that_is_kept(lines):
    assert len(list(islice(lines.read_from(0), 300))) == 300
    again = list(lines.read_from(120))
    assert (again[0], again[-1], len(again)) == ("line 120\r\n", "line 999\r\n", 880)
    assert lines.text(700) == "line 700"


def test_lines_that_are_forgotten_keep_their_place_in_the_data(lines):
    list(islice(lines.read_from(0), 300))
    for end in (10, 10, 250):
        lines.forget(end)
        assert lines.offset(end) == CONTENT.index(b"line %d\r\n" % end)
    assert next(lines.read_from(250)) == "line 250\r\n"


def test_a_row_that_takes_in_more_than_it_may_is_given_up(lines):
    lines.began, lines.row_most = 100, 1_000
    with pytest.raises(csv.Error, match="has no end"):
        list(lines.read_from(0))
    assert next(lines.read_from(300)) == "line 300\r\n", "what it has taken in is not lost"
