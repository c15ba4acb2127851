"""An hour of throughput: remembered while the dashboard runs, read from the journal before."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.dashboard import throughput as module
from klaviyo_relay_worker.dashboard.throughput import MINUTES, Throughput, _Memory, picture

LANE = "default:events"
NOW = 1_800_000_000.0
DIGESTS = b"0123456789abcdef"


@pytest.fixture
def throughput(redis, keys):
    return Throughput(redis, keys)


@pytest.fixture
def journal(redis, keys):
    """Writes records into the lane's journal, minutes ago, and counts them as delivered."""
    seconds, _ = redis.time()
    lane = keys.lane("default", "events")
    redis.sadd(keys.register, LANE)

    def write(*records):
        for minutes, commands in sorted(records, reverse=True):
            at = (seconds // 60 - minutes) * 60_000 + 1
            fields = {"w": "delivered", "n": "{}", "i": DIGESTS * commands}
            redis.xadd(lane.journal, fields, id=f"{at}-*")
            redis.hincrby(lane.counts, "delivered", commands)

    return write


def test_what_is_delivered_between_two_looks_is_in_the_picture(stock, throughput):
    throughput.sample()
    stock.deliver(40)
    throughput.sample()
    stock.deliver(2)
    throughput.sample()
    assert sum(filter(None, throughput.hour(LANE))) == 42


def test_the_journal_tells_of_the_time_before(throughput, journal):
    journal((50, 7), (50, 1), (3, 5), (1, 2))
    throughput.sample()
    hour = throughput.hour(LANE)
    assert {at: n for at, n in enumerate(reversed(hour)) if n} == {1: 2, 3: 5, 50: 8}
    assert None not in hour, "it tells of all that was ever delivered"


def test_where_the_journal_was_cut_off_nothing_is_known(throughput, journal, redis, keys):
    journal((20, 7), (3, 5))
    redis.hincrby(keys.lane("default", "events").counts, "delivered", 1_000)
    throughput.sample()
    hour = list(reversed(throughput.hour(LANE)))
    assert hour[:20] == [0, 0, 0, 5] + [0] * 16
    assert hour[20:] == [None] * 40


def test_a_journal_that_is_older_than_the_hour_tells_of_all_of_it(throughput, journal, redis, keys):
    journal((70, 3), (20, 7))
    redis.hincrby(keys.lane("default", "events").counts, "delivered", 1_000)
    throughput.sample()
    hour = throughput.hour(LANE)
    assert None not in hour
    assert sum(hour) == 7


def test_a_long_journal_is_read_by_pages_and_not_to_its_end(throughput, journal, monkeypatch):
    monkeypatch.setattr(module, "_PAGE", 2)
    monkeypatch.setattr(module, "_PAGES", 3)
    journal(*((minutes, 1) for minutes in range(1, 11)))
    throughput.sample()
    hour = list(reversed(throughput.hour(LANE)))
    assert hour[1:6] == [1] * 5
    assert hour[6:] == [None] * 54


def test_without_a_journal_the_picture_begins_now(throughput, redis, keys):
    redis.sadd(keys.register, LANE)
    redis.hset(keys.lane("default", "events").counts, "delivered", 9)
    throughput.sample()
    assert throughput.hour(LANE)[:-1] == [None] * 59


def test_a_redis_that_was_emptied_begins_anew(stock, throughput, redis):
    stock.deliver(5)
    throughput.sample()
    redis.flushall()
    stock.deliver(2)
    throughput.sample()
    assert sum(filter(None, throughput.hour(LANE))) == 2


def test_nothing_is_known_of_a_lane_that_was_never_looked_at(throughput):
    assert throughput.hour("default:lists") == [None] * MINUTES


def test_what_came_while_nobody_looked_is_spread_over_that_time():
    memory = _Memory(100, NOW)
    memory.known_from = 0
    memory.add(400, NOW + 600)
    hour = memory.hour()
    assert sum(hour) == 300
    assert set(hour[-10:-1]) == {30}


def test_an_hour_is_remembered_and_no_more():
    memory = _Memory(0, NOW)
    memory.known_from = 0
    for minute in range(1, 200):
        memory.add(minute * 10, NOW + minute * 60)
    assert len(memory.minutes) <= MINUTES
    assert memory.hour()[:-1] == [10] * 59


def test_the_picture_is_as_high_as_its_best_minute():
    drawn = picture([None, None, 0, 5, 10, 1])
    assert (drawn.unknown, drawn.total, drawn.peak, drawn.latest) == (2, 16, 10, 10)
    assert drawn.bars == "M3 20v-10.0h.8V20zM4 20v-20.0h.8V20zM5 20v-2.0h.8V20z"


def test_the_picture_of_nothing_is_empty():
    assert picture([None] * 60).bars == picture([0] * 60).bars == ""
