"""Rejects: every refused row once, its owner's alone, and cut back to the checkpoint."""

from __future__ import annotations

import stat

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


def test_a_place_that_cannot_be_written_is_said_with_the_flag(tmp_path):
    rejects = RejectFile(tmp_path / "nowhere" / "rejects", with_rows=False)
    with pytest.raises(LoadError, match="name a file with --rejects"):
        rejects.add(refusal())
