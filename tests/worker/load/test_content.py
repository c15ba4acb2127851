"""Content: a file is known by its bytes, a stream by its name; a file has one load at a time."""

from __future__ import annotations

import os

import pytest

from klaviyo_relay_worker.load.content import claim, digest_of, digest_of_name, stamp_of
from klaviyo_relay_worker.load.errors import LoadError


def test_the_same_bytes_are_the_same_content_whatever_their_name(tmp_path):
    found = []
    for name, content in (("a", b"x" * 100_000), ("b", b"x" * 100_000), ("c", b"y" * 100_000)):
        (tmp_path / name).write_bytes(content)
        with (tmp_path / name).open("rb") as file:
            found.append(digest_of(file))
            assert file.read(1) == content[:1], "it is at its beginning again"
    assert found[0] == found[1] != found[2]


def test_a_name_is_no_content(tmp_path):
    (tmp_path / "a").write_bytes(b"name orders")
    with (tmp_path / "a").open("rb") as file:
        assert digest_of_name("orders") == digest_of(file)
    assert digest_of_name("orders") != digest_of_name("order")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer"),
        lambda path: os.utime(path, ns=(1, path.stat().st_mtime_ns + 1)),
    ],
    ids=["size", "time"],
)
def test_a_file_that_is_written_to_has_another_stamp(tmp_path, change):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        before = stamp_of(file)
        assert stamp_of(file) == before
        change(path)
        assert stamp_of(file) != before


def test_a_file_has_one_load_at_a_time(tmp_path):
    path = tmp_path / "orders.csv"
    path.touch()
    with path.open("rb") as first, path.open("rb") as second:
        claim(first, "orders.csv")
        with pytest.raises(LoadError, match=r"orders\.csv is being loaded by another process"):
            claim(second, "orders.csv")
        first.close()
        claim(second, "orders.csv")
