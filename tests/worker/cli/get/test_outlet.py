"""The outlet: a file that is whole, or the part of one to go on with."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.cli.get.outlet import PartFile


def test_a_part_that_is_given_up_keeps_whole_pages_only(tmp_path):
    path = tmp_path / "out"
    path.write_text("older")
    for text, goes_on in (("one\n", False), ("two\n", True)):
        outlet = PartFile(path, goes_on=goes_on)
        outlet.write(text)
        outlet._file.write(b"half a pa")
        outlet.__exit__(KeyboardInterrupt)
    assert path.read_text() == "older"
    with PartFile(path, goes_on=True) as outlet:
        assert outlet.has_begun
        outlet.write("three\n")
    assert path.read_text() == "one\ntwo\nthree\n"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_run_that_reads_nothing_leaves_an_older_part_alone(tmp_path):
    outlet = PartFile(tmp_path / "out", goes_on=False)
    outlet.part.write_text("of an earlier run\n")
    with pytest.raises(ValueError, match="bad input"), outlet:
        raise ValueError("bad input")
    assert outlet.part.read_text() == "of an earlier run\n"


def test_a_file_of_nothing_is_there_and_empty(tmp_path):
    with PartFile(tmp_path / "out", goes_on=False):
        pass
    assert (tmp_path / "out").read_text() == ""
