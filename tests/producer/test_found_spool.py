import sqlite3
from contextlib import closing

import pytest

from klaviyo_relay.found_spool import locked, opened
from klaviyo_relay.keys import Keys
from klaviyo_relay.marks import Marks
from klaviyo_relay.salvage import salvage
from klaviyo_relay.spool import OwnSpool, SpoolLock, source_of
from spool_files import DIGEST, EVENTS


def rows(*messages):
    return [(EVENTS, 1, message) for message in messages]


@pytest.fixture
def left(directory):
    """What a process has left that is dead: two rows."""
    spool = OwnSpool.create(directory, DIGEST)
    spool.append(rows(b"a", b"b"))
    spool.close()
    return spool


def test_the_file_of_a_dead_process_is_found_with_its_lock_and_removed_without_trace(
    left, directory
):
    with opened(left.path) as found:
        assert found.is_dead
        assert found.spool.last_row == 2
        assert found.spool.source == source_of(left.path) == left.source
        found.remove()

    assert list(directory.iterdir()) == []


def test_the_file_of_a_living_process_can_be_looked_at(spool):
    spool.append(rows(b"a"))

    with opened(spool.path) as found:
        assert not found.is_dead
        assert found.spool.oldest_at(EVENTS, 0) == 1

    spool.append(rows(b"b"))
    assert [message for _, _, message in spool.read(0, 10)] == [b"a", b"b"]


def test_what_was_looked_at_is_free_for_others_again(left):
    with opened(left.path), opened(left.path) as found:
        assert not found.is_dead

    with opened(left.path) as found:
        assert found.is_dead


def test_a_file_that_is_gone_leaves_nothing_behind_when_it_is_looked_for(left, directory):
    with opened(left.path) as found:
        found.remove()

    with pytest.raises(FileNotFoundError, match="is gone"), opened(left.path):
        pass
    with pytest.raises(FileNotFoundError, match="is gone"):
        salvage(left.path)

    assert list(directory.iterdir()) == []


def test_rows_below_the_mark_of_their_lane_are_shipped(left, redis):
    marks = Marks(redis, Keys())
    redis.hset(Keys().lane("default", "events").marks, left.source, "1@0")

    with opened(left.path) as found:
        assert found.unshipped(marks) == 1
        assert found.unshipped(None) == 2


@pytest.mark.parametrize("is_wal", [False, True], ids=["empty", "without its table"])
def test_a_file_that_its_process_is_still_making_is_left_to_it(directory, is_wal):
    directory.mkdir()
    path = directory / f"{DIGEST}-0123456789ab.spool"
    path.touch()
    if is_wal:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
    lock = SpoolLock.take(path.with_suffix(".lock"))
    before = path.read_bytes()

    with pytest.raises(FileNotFoundError, match="not made yet"), opened(path):
        pass

    assert path.read_bytes() == before
    lock.release()
    with opened(path) as found:  # its process died before it had made it
        found.remove()


def test_a_file_that_is_no_database_is_told_by_sqlite(directory):
    directory.mkdir()
    path = directory / f"{DIGEST}-0123456789ab.spool"
    path.write_bytes(b"this is no database, but long enough to look like a file" * 50)

    with pytest.raises(sqlite3.DatabaseError), opened(path):
        pass
    with locked(path) as lock:
        assert lock is not None
