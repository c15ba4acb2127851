import time

import pytest

from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.marks import Marks

LANE = "default:events"


@pytest.fixture
def marks(redis):
    return Marks(redis, Keys())


def test_a_lane_without_a_mark_is_at_the_beginning(marks):
    assert marks.mark(LANE, "spool") == 0
    assert marks.dated_mark(LANE, "spool") == (0, 0)


def test_a_mark_is_the_last_number_of_its_source_that_was_shipped(redis, marks):
    began = int(redis.time()[0])
    entrance = LaneEntrance(redis, Keys(), 10**9)
    entrance.ship(LANE, "spool", [(1, b"a"), (7, b"b")])
    entrance.ship("default:profiles", "spool", [(9, b"c")])
    entrance.ship(LANE, "load", [(2, b"d")])

    assert (marks.mark(LANE, "spool"), marks.mark(LANE, "load")) == (7, 2)
    assert began <= marks.dated_mark(LANE, "spool").at <= time.time() + 1


def test_reading_marks_writes_nothing(redis, marks):
    marks.mark(LANE, "spool")

    assert redis.dbsize() == 0
