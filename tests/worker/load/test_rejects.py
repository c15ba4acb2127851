"""Rejects: every refused row once, its owner's alone, and cut back to the checkpoint."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.rejects import Refusal, RejectFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.csv.rejects"


def lines(path):
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def refusal(line=2, row=("ada@lovelace.dev",)):
    return Refusal(line, "email", "must be an address", row)


def test_a_load_without_refusals_leaves_no_file(path):
    RejectFile(path, with_rows=False).close()
    assert not path.exists()


def test_a_refusal_is_a_line_that_its_owner_alone_can_read(path):
    path.touch(mode=0o644)
    rejects = RejectFile(path, with_rows=False)
    rejects.add(refusal())
    rejects.sync()
    assert lines(path) == [{"line": 2, "field": "email", "reason": "must be an address"}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rejects.size == path.stat().st_size
    rejects.close()
    assert path.exists()


@pytest.mark.parametrize("size", [0, 3], ids=["of nobody", "of this load"])
def test_a_file_of_an_earlier_load_stays_as_it_is(path, size):
    path.write_text("x,y\n")
    rejects = RejectFile(path, with_rows=False, size=size)
    rejects.close()
    assert path.read_text() == "x,y\n"


def test_refusals_go_beside_what_is_there_already_under_the_next_free_name(path):
    for content in ("one\n", "two\n"):
        RejectFile(path, with_rows=False).close()
        rejects = RejectFile(path, with_rows=False)
        rejects.add(refusal())
        rejects.close()
        rejects.path.write_text(content)
    rejects = RejectFile(path, with_rows=False)
    rejects.add(refusal(9))
    rejects.close()
    assert rejects.path.name == "orders.csv-3.rejects"
    found = {one.name: one.read_text() for one in path.parent.iterdir()}
    assert found.pop("orders.csv-3.rejects").startswith('{"line":9')
    assert found == {"orders.csv.rejects": "one\n", "orders.csv-2.rejects": "two\n"}


def test_two_loads_at_once_have_a_file_each(path):
    one, other = RejectFile(path, with_rows=False), RejectFile(path, with_rows=False)
    one.add(refusal(2))
    other.add(refusal(3))
    one.close()
    other.close()
    assert [lines(one.path)[0]["line"], lines(other.path)[0]["line"]] == [2, 3]


def test_a_resumed_load_goes_on_with_its_own_file_among_others(path):
    path.write_text("of another load\n")
    first = RejectFile(path, with_rows=False)
    first.add(refusal(2))
    first.close()
    second = RejectFile(path, with_rows=False, name=first.path.name, size=first.size)
    second.add(refusal(3))
    second.close()
    assert [one["line"] for one in lines(first.path)] == [2, 3]
    assert path.read_text() == "of another load\n"


def test_a_resumed_load_that_is_to_write_elsewhere_begins_a_file_there(path):
    elsewhere = path.with_name("mine.ndjson")
    elsewhere.write_text("of another load\n")
    rejects = RejectFile(elsewhere, with_rows=False, name=path.name, size=5)
    rejects.add(refusal())
    rejects.close()
    assert rejects.path.name == "mine-2.ndjson"
    assert elsewhere.read_text() == "of another load\n"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("a", "b\udc80"), ["a", "b\\udc80"]),
        ({"a\udc80": [1, None]}, {"a\\udc80": [1, None]}),
        ("no object", "no object"),
    ],
    ids=["cells", "object", "text"],
)
def test_the_row_is_written_where_that_is_asked_for(path, row, told):
    rejects = RejectFile(path, with_rows=True)
    rejects.add(refusal(row=row))
    rejects.close()
    assert lines(path)[0]["row"] == told


def test_a_resumed_load_cuts_off_what_came_after_its_checkpoint(path):
    first = RejectFile(path, with_rows=False)
    first.add(refusal(2))
    noted = first.size
    first.add(refusal(3))
    first.add(refusal(5))
    first.close()
    second = RejectFile(path, with_rows=False, size=noted)
    second.add(refusal(4))
    second.close()
    assert [one["line"] for one in lines(path)] == [2, 4]


def test_a_file_that_was_shortened_since_is_gone_on_with_where_it_ends(path):
    path.write_bytes(b"")
    rejects = RejectFile(path, with_rows=False, size=1_000)
    rejects.add(refusal(4))
    rejects.close()
    assert [one["line"] for one in lines(path)] == [4]


def test_a_place_that_is_no_file_is_said_and_stays_as_it_is():
    before = Path(os.devnull).stat().st_mode
    rejects = RejectFile(Path(os.devnull), with_rows=False)
    rejects.add(refusal())
    with pytest.raises(LoadError, match="name a file with --rejects"):
        rejects.close()
    assert Path(os.devnull).stat().st_mode == before


def test_a_place_that_cannot_be_written_is_said_with_the_flag(tmp_path):
    rejects = RejectFile(tmp_path / "nowhere" / "rejects", with_rows=False)
    with pytest.raises(LoadError, match="name a file with --rejects"):
        rejects.add(refusal())
