"""The read that a spool's writer keeps under way: cheaper commits, and commits all the same."""

import sqlite3
from contextlib import closing

from klaviyo_relay.spool import OwnSpool

EVENTS = "default:events"


def test_each_append_is_committed_though_a_read_goes_on(tmp_path):
    spool = OwnSpool.create(tmp_path, "digest")
    with closing(sqlite3.connect(spool.path)) as other:
        for number in range(1, 21):
            spool.append([(EVENTS, 0, b"%d" % number)])

            assert spool._pinned is not None
            assert other.execute("SELECT max(row) FROM rows").fetchone() == (number,)
    spool.close()


def test_an_append_goes_on_after_somebody_else_has_written_the_file(tmp_path):
    spool = OwnSpool.create(tmp_path, "digest")
    spool.append([(EVENTS, 0, b"1")])
    with closing(sqlite3.connect(spool.path)) as other, other:
        other.execute("INSERT INTO rows VALUES (2, ?, 0, ?)", (EVENTS, b"other"))

    spool.append([(EVENTS, 0, b"3")])

    assert [row[0] for row in spool.read(0, 10)] == [1, 2, 3]
    spool.close()
