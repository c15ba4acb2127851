import subprocess
import sys
import threading
import time

import pytest

from klaviyo_relay import Producer, Settings
from klaviyo_relay.direct import ANSWER_SECONDS, DirectShipment
from klaviyo_relay.errors import RedisUnavailableError, SpoolError, SpoolFullError
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from spool_files import in_order, spool_of

ADA = "ada@lovelace.dev"
ROW = ("default:events", 0, b"message")
FULL = SpoolFullError("cannot write the spool")
# Threads take turns at the interpreter, so a wait ends somewhat late.
LATE_SECONDS = 0.4


def without_disk(tmp_path, server):
    """A producer that can make no spool."""
    (tmp_path / "no").touch()
    return Producer(Settings(redis_url=server.url, spool_dir=tmp_path / "no", exit_seconds=0.0))


def track_until_taken(producer):
    """The id of the first command that is accepted again."""
    while True:
        try:
            return producer.track("M", email=ADA)
        except SpoolError:
            continue


class Crowd:
    """Callers that all call at once, each from a thread.

    Attributes:
        seconds: how long each call took.
        refused: what those were told whose command was not accepted.
        ids: of what was accepted.
    """

    def __init__(self, producer, number=20):
        self.seconds, self.refused, self.ids = [], [], []
        self._producer = producer
        self._together = threading.Barrier(number)
        threads = [threading.Thread(target=self._call) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    def _call(self):
        self._together.wait(10)
        began = time.monotonic()
        try:
            self.ids.append(self._producer.track("M", email=ADA))
        except SpoolFullError as error:
            self.refused.append(str(error))
        self.seconds.append(time.monotonic() - began)


@pytest.fixture
def full(producer):
    """A producer whose disk takes no more."""
    producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    writer = spool_of(producer)._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages}").fetchall()
    return producer


def test_with_a_full_disk_a_command_is_in_redis_when_the_call_returns(full, lanes):
    properties = {"x": "y" * 50_000}

    ids = [full.track("M", email=ADA, properties=properties) for _ in range(5)]

    assert lanes.ids()[1:] == ids


def test_with_a_full_disk_and_without_redis_the_command_is_refused_and_both_are_named(tmp_path):
    with PrivateRedis() as server:
        settings = Settings(redis_url=server.url, spool_dir=tmp_path / "no", exit_seconds=0.0)
    (tmp_path / "no").touch()
    producer = Producer(settings)

    with pytest.raises(SpoolFullError, match=r"(?s)spool.*Redis did not take it either"):
        producer.track("M", email=ADA)


def test_a_lane_that_is_full_is_redis_not_taking_it(relay_settings):
    narrow = Settings(redis_url=relay_settings.redis_url, lane_max_bytes=1)
    shipment = DirectShipment(narrow)
    shipment.ship([ROW], FULL)

    with pytest.raises(RedisUnavailableError):
        shipment.ship([ROW], FULL)


def test_rows_shipped_directly_keep_their_order_and_each_has_its_number(relay_settings, lanes):
    shipment = DirectShipment(relay_settings)

    for number in range(3):
        shipment.ship([("default:events", 0, b"%d" % number), ("default:lists", 0, b"x")], FULL)

    assert [entry.message for entry in lanes.entries()] == [b"0", b"1", b"2"]
    numbers = [int(entry.origin.partition(":")[2]) for entry in lanes.entries()]
    assert numbers == sorted(set(numbers))


def test_however_many_call_while_redis_stands_still_each_waits_for_one_answer_time(
    own_redis, tmp_path
):
    producer = without_disk(tmp_path, own_redis)
    producer.track("M", email=ADA)
    own_redis.pause()

    crowd = Crowd(producer)

    assert len(crowd.refused) == len(crowd.seconds) == 20
    assert max(crowd.seconds) < ANSWER_SECONDS + LATE_SECONDS
    assert all("Redis did not take it either" in said for said in crowd.refused)
    own_redis.resume()
    producer.close()


def test_what_nobody_waited_for_any_more_is_not_shipped_later(own_redis, tmp_path, lanes_of):
    producer = without_disk(tmp_path, own_redis)
    accepted = [producer.track("M", email=ADA)]
    own_redis.pause()
    Crowd(producer)
    own_redis.resume()

    accepted.append(track_until_taken(producer))

    with connect(own_redis.url) as redis:
        found = lanes_of(redis).ids()
    assert [identity for identity in found if identity in accepted] == accepted
    # Of the crowd some may have been under way when their callers left.
    assert len(found) < 10
    producer.close()


def test_many_callers_get_through_and_their_numbers_rise(own_redis, tmp_path, lanes_of):
    producer = without_disk(tmp_path, own_redis)

    crowd = Crowd(producer)

    with connect(own_redis.url) as redis:
        entries = lanes_of(redis).entries()
    assert crowd.refused == []
    assert sorted(entry.envelope.id for entry in entries) == sorted(crowd.ids)
    assert in_order(entries)
    assert len({entry.origin.partition(":")[0] for entry in entries}) == 1
    producer.close()


def test_it_is_said_on_the_log_once_a_minute(own_redis, tmp_path, caplog):
    producer = without_disk(tmp_path, own_redis)

    for _ in range(3):
        producer.track("M", email=ADA)

    (said,) = [record for record in caplog.records if record.name == "klaviyo_relay.direct"]
    assert said.levelname == "WARNING"
    assert "spool" in said.getMessage()
    assert "each call waits until Redis has its command" in said.getMessage()
    producer.close()


@pytest.mark.usefixtures("unwritable_log")
def test_a_log_that_fails_does_not_matter_to_a_call(own_redis, tmp_path):
    producer = without_disk(tmp_path, own_redis)

    assert producer.track("M", email=ADA)
    producer.close()


def test_a_closed_producer_leaves_no_thread(own_redis, tmp_path, until):
    before = threading.active_count()
    producer = without_disk(tmp_path, own_redis)
    producer.track("M", email=ADA)

    producer.close()

    until(lambda: threading.active_count() == before)
    assert producer.track("M", email=ADA)
    producer.close()


def test_a_process_without_threads_to_spare_ships_all_the_same(relay_settings, lanes, monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    shipment = DirectShipment(relay_settings)

    shipment.ship([ROW], FULL)
    shipment.ship([ROW], FULL)

    assert lanes.length() == 2


def test_whoever_was_about_to_ship_while_it_was_closed_ships(relay_settings, lanes):
    shipment = DirectShipment(relay_settings)
    shipment.close()

    shipment.ship([ROW], FULL)

    assert lanes.length() == 1


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from klaviyo_relay import Producer, Settings
producer = Producer(Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2])))

def handle(*_signal):
    producer.track("handler", email="ada@lovelace.dev")

producer.track("M", email="ada@lovelace.dev")
signal.signal(signal.SIGALRM, handle)
for number in range(300):
    signal.setitimer(signal.ITIMER_REAL, 0.00002 * (number % 50 + 1))
    producer.track("M", email="ada@lovelace.dev")
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_signal_handler_may_call_in_the_middle_of_a_call(own_redis, tmp_path):
    (tmp_path / "no").touch()
    command = [sys.executable, "-c", SIGNALLED, own_redis.url, str(tmp_path / "no")]

    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
