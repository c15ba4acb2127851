import sqlite3

import pytest

from klaviyo_relay.salvage import check_rows, salvage
from klaviyo_relay.spool import OwnSpool

LANE = "default:events"
ROWS = 400


@pytest.fixture
def damaged(tmp_path):
    """A file of four hundred rows, in the middle of which the disk has written rubbish."""
    spool = OwnSpool.create(tmp_path, "0a1b2c3d")
    spool.append([(LANE, 0, b"%d" % number * 20) for number in range(1, ROWS + 1)])
    spool.close()
    path = spool.path
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 2048 * 2048
    content[middle : middle + 2048] = b"\xff" * 2048
    path.write_bytes(content)
    return path


def test_an_undamaged_file_gives_all_of_its_rows(tmp_path):
    spool = OwnSpool.create(tmp_path, "0a1b2c3d")
    spool.append([(LANE, 0, b"a"), (LANE, 0, b"b")])
    spool.close()

    assert salvage(spool.path) == ([(1, LANE, b"a"), (2, LANE, b"b")], 0)


def test_around_the_damage_every_row_is_read_as_it_was_written(damaged):
    found = salvage(damaged)

    numbers = [number for number, _, _ in found.rows]
    assert numbers == sorted(set(numbers))
    assert 0 < found.unreadable < ROWS / 4
    assert len(found.rows) + found.unreadable == ROWS
    assert all(row == (row[0], LANE, b"%d" % row[0] * 20) for row in found.rows)


def test_a_file_that_is_no_database_gives_nothing(tmp_path):
    path = tmp_path / "0a1b2c3d-0123456789ab.spool"
    path.write_bytes(b"this is no database, but long enough to look like a file" * 50)

    assert salvage(path) == ([], 0)


@pytest.mark.parametrize(
    "rows",
    [
        [(2, LANE, b"a"), (2, LANE, b"b")],
        [(1, LANE, b"a")],
        [(2, LANE, "text")],
        [(2, None, b"a")],
        [(2, "no lane", b"a")],
    ],
    ids=["number twice", "number from before", "text", "no lane", "another name"],
)
def test_rows_that_nobody_wrote_show_a_damage_that_sqlite_did_not_see(rows):
    with pytest.raises(sqlite3.DatabaseError):
        check_rows(rows, 1)


def test_rows_as_they_were_written_pass():
    check_rows([(2, LANE, b"a"), (5, LANE, b"b")], 1)
