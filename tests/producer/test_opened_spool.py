"""An open spool and its thread: what may come in the middle of what, and no thread at all."""

import logging
import sqlite3
import threading

import pytest

from klaviyo_relay import Settings, opened_spool
from klaviyo_relay.opened_spool import OpenedSpool
from klaviyo_relay.shipper import Shipper
from klaviyo_relay.spool import SpoolLock, milliseconds

LANE = "default:events"


def refuse(*_):
    raise RuntimeError("can't start new thread")


@pytest.fixture
def rows():
    return [(LANE, milliseconds(), b"{}")]


@pytest.fixture
def opened(away):
    made = OpenedSpool(away, lambda _: None)
    yield made
    made.end()


def test_a_process_that_can_have_no_more_threads_stores_and_says_what_waits(
    opened, rows, monkeypatch, caplog
):
    monkeypatch.setattr(threading.Thread, "start", refuse)
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        opened.spool.append(rows)
        opened.start()

    assert opened.shipper is None
    assert opened.flush(5).left == 3
    (record,) = caplog.records
    assert record.message.endswith("spool: can't start new thread; 1 commands wait in it")


def test_it_ships_as_soon_as_it_can_have_a_thread(relay_settings, lanes, monkeypatch, rows):
    opened = OpenedSpool(relay_settings, lambda _: None)
    opened.spool.append(rows)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        opened.start()

    assert opened.flush(10).left == 0
    assert lanes.length() == 1
    opened.end()


def test_an_end_without_a_thread_frees_the_file_with_its_rows(opened, rows):
    opened.spool.append(rows)

    opened.end()

    lock = SpoolLock.take(opened.spool.lock.path)
    assert lock is not None
    lock.release()
    with sqlite3.connect(opened.spool.path) as found:
        assert found.execute("SELECT count(*) FROM rows").fetchone() == (1,)
    found.close()


def test_a_spool_that_has_ended_starts_no_thread(opened):
    opened.end()

    opened.start()

    assert opened.shipper is None


def test_only_one_thread_is_started_whoever_asks_in_the_middle_of_it(opened, monkeypatch):
    # As a signal handler does that enqueues meanwhile.
    started = threading.Thread.start

    def start(thread):
        opened.start()
        started(thread)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", start)
    opened.start()

    assert threading.active_count() == before + 1


class LateLock:
    """A lock that somebody else gets first, and has given back."""

    def __init__(self, lock, others_work):
        self._lock = lock
        self._others_work = [others_work]
        self.release = lock.release

    def acquire(self, *, blocking):
        while self._others_work:
            self._others_work.pop()()
        return self._lock.acquire(blocking=blocking)


def test_only_one_thread_is_started_though_two_find_none(opened):
    before = threading.active_count()
    opened._starting = LateLock(opened._starting, opened.start)

    opened.start()

    assert threading.active_count() == before + 1


def test_a_thread_whose_spool_ends_in_the_middle_of_its_start_ends_too(opened, monkeypatch, until):
    started = threading.Thread.start

    def start(thread):
        opened.end()
        started(thread)

    before = threading.active_count()
    monkeypatch.setattr(opened_spool, "END_SECONDS", 20)
    monkeypatch.setattr(threading.Thread, "start", start)
    opened.start()

    until(lambda: threading.active_count() == before)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened.spool.read(0, 1)


def test_a_flush_during_which_another_call_closes_the_file_says_what_that_one_left(
    opened, rows, monkeypatch
):
    opened.spool.append(rows)
    opened.start()
    flush = Shipper.flush

    def closed_meanwhile(shipper, timeout):
        monkeypatch.setattr(Shipper, "flush", flush)
        opened.flush(0)
        opened.end()
        shipper._own.spool.read(0, 1)  # as the look at a lane that is held

    monkeypatch.setattr(Shipper, "flush", closed_meanwhile)

    assert opened.flush(5).left == 1


def test_a_flush_is_over_once_the_spool_has_ended(away, rows):
    opened = OpenedSpool(away, lambda _: None)
    opened.spool.append(rows)
    opened.start()
    thread = threading.Thread(target=opened.flush, args=(60,))
    thread.start()

    opened.end()

    thread.join(10)
    assert not thread.is_alive()


def test_the_settings_say_where_the_file_is(tmp_path):
    settings = Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "elsewhere")

    opened = OpenedSpool(settings, lambda _: None)

    assert opened.spool.path.parent == tmp_path / "elsewhere"
    assert opened.spool.path.name.startswith(settings.digest)
    opened.end()
