"""The order: what makes a load another one, and places that do not fit its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from klaviyo_relay_worker.load.errors import UsageFaultsError

ACCENTED = "email,first_name\nzoe@shop.io,Zoé\n".encode("cp1252")


@pytest.fixture
def name_of(desk):
    """The load's name under an order for the same bytes."""

    def find(name="people.csv", **more):
        order = desk.order(desk.write(ACCENTED, name), **more)
        source = desk.open(order)
        found = order.source_of(source.content)
        source.reader.close()
        return found

    return find


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("people.csv", {"encoding": "cp1252"}),
        ("people.csv", {"delimiter": ";"}),
        ("people.tsv", {}),
        ("people.csv", {"format": "ndjson"}),
    ],
    ids=["encoding", "delimiter", "delimiter of the name", "format"],
)
def test_bytes_that_are_read_in_another_way_are_another_load(name_of, name, more):
    assert name_of(name, **more) != name_of()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("copy.csv", {}),
        ("people.csv", {"delimiter": ",", "format": "csv", "encoding": "UTF8"}),
        ("people.txt", {"format": "csv"}),
    ],
    ids=["copied", "said though it need not be", "format said"],
)
def test_bytes_that_are_read_in_the_same_way_are_the_same_load(name_of, name, more):
    assert name_of(name, **more) == name_of()


@pytest.mark.parametrize("flag", ["rejects", "checkpoint"])
def test_what_is_read_is_not_written_over_under_any_name(desk, tmp_path, flag):
    target = desk.write(ACCENTED)
    (tmp_path / "link").symlink_to(target)
    source = desk.open(desk.order(target))
    with pytest.raises(UsageFaultsError, match=f"--{flag} .*link is the file that is to be loaded"):
        desk.order(target, **{flag: tmp_path / "link"}).check_places(source)
    desk.order(target, **{flag: tmp_path / "other"}).check_places(source)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"checkpoint": Path("c")}, "--checkpoint is for files: --source makes"),
        ({"restart": True}, "--restart is for files: .* under another --source"),
    ],
    ids=["checkpoint", "restart"],
)
def test_flags_of_checkpoints_are_for_what_has_one(desk, more, said):
    order = desk.order("sqlite://", query="SELECT 1 AS email", **more)
    with pytest.raises(UsageFaultsError, match=said):
        order.check_places(desk.open(order))
