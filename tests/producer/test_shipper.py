# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name

import logging
import shutil
import signal
import threading
import time

import msgspec
import pytest

from klaviyo_relay import Producer, Settings, orphans, shipment, shipper
from klaviyo_relay.errors import SpoolError
from klaviyo_relay.keys import Keys
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.shipment import FileShipment
from klaviyo_relay.spool import SpoolLock
from klaviyo_relay_worker.embedded import PrivateRedis
from spool_files import ADA, EVENTS, PROFILES, envelope, in_order, shipper_of, spool_of

# Much more than a track() needs (20 us), much less than any wait for Redis (2 s and more).
QUICK_SECONDS = 0.5


@pytest.fixture
def impatient(monkeypatch):
    """Everything that the shipper waits for takes a tenth of a second."""
    monkeypatch.setattr(shipper, "BACKOFF_MOST_SECONDS", 0.1)
    monkeypatch.setattr(shipper, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(shipper, "FULL_SECONDS", 0.05)
    monkeypatch.setattr("klaviyo_relay.lane_entrance._SURVEY_SECONDS", 0.05)
    monkeypatch.setattr(shipper, "connect", lambda url: connect(url, answer_seconds=0.3))


def with_server(server, tmp_path, **more):
    return Settings(redis_url=server.url, spool_dir=tmp_path / "spool", exit_seconds=0.0, **more)


# --- the way of a row -----------------------------------------------------------------------------


def test_rows_reach_their_lanes_in_the_order_of_the_calls(producer, lanes):
    events, profiles = [], []
    for number in range(1_500):
        events.append(producer.track("M", email=ADA, value=number))
        if number % 3 == 0:
            profiles.append(producer.identify(email=ADA, properties={"n": number}))

    assert producer.flush(timeout=20).left == 0

    assert lanes.ids("events") == events
    assert lanes.ids("profiles") == profiles
    assert lanes.counts("events")["accepted"] == 1_500


def test_a_lone_command_is_shipped_at_once(producer, lanes, until):
    producer.track("M", email=ADA)
    producer.flush(timeout=10)
    until(lambda: shipper_of(producer)._is_idle)
    began = time.monotonic()

    producer.track("M", email=ADA)
    until(lambda: lanes.length() == 2)

    assert time.monotonic() - began < shipper.IDLE_SECONDS / 2


def test_shipped_rows_stay_for_the_window_and_are_deleted_after_it(
    monkeypatch, impatient, producer, until
):
    monkeypatch.setattr(shipment, "RESHIP_SECONDS", 0.7)
    shipped_after = time.monotonic()
    for _ in range(700):
        producer.track("M", email=ADA)
    assert producer.flush(timeout=10).left == 0
    spool = spool_of(producer)

    if time.monotonic() - shipped_after < 0.6:
        assert len(spool.read(0, 1_000)) == 700
    until(lambda: spool.read(0, 1_000) == [])
    assert time.monotonic() - shipped_after > 0.7


def test_a_row_that_waits_longer_than_the_window_is_still_shipped(
    monkeypatch, impatient, own_redis, tmp_path, lanes_of, until
):
    monkeypatch.setattr(shipment, "RESHIP_SECONDS", 0.1)
    producer = Producer(with_server(own_redis, tmp_path))
    first = producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    own_redis.kill()
    second = producer.track("M", email=ADA)
    until(lambda: shipper_of(producer)._backoff.failures > 4)
    own_redis.start()

    assert producer.flush(10).left == 0
    with connect(own_redis.url) as redis:
        assert lanes_of(redis).ids() == [first, second]
    producer.close(0)


def test_an_outage_of_hours_does_not_end_the_thread(
    impatient, own_redis, tmp_path, lanes_of, until
):
    producer = Producer(with_server(own_redis, tmp_path))
    own_redis.kill()
    command = producer.track("M", email=ADA)
    shipper_of(producer)._backoff.failures = 1_023
    until(lambda: shipper_of(producer)._backoff.failures > 1_025)
    own_redis.start()

    assert producer.flush(10).left == 0
    with connect(own_redis.url) as redis:
        assert lanes_of(redis).ids() == [command]
    producer.close(0)


# --- Redis comes and goes -------------------------------------------------------------------------


class Load:
    """A thread that tracks on and on, and remembers what was accepted and how long it took."""

    def __init__(self, producer):
        self.producer = producer
        self.ids = []
        self.slowest = 0.0
        self.error = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while not self._over.wait(0.0005):
                began = time.monotonic()
                self.ids.append(self.producer.track("M", email=ADA, value=len(self.ids)))
                self.slowest = max(self.slowest, time.monotonic() - began)
        except Exception as error:
            self.error = error
            raise

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(30)
        assert self.error is None

    def grow(self, until, many=50):
        """Wait until so many more commands were accepted."""
        target = len(self.ids) + many
        until(lambda: len(self.ids) >= target)


def killed(own_redis):
    own_redis.kill()
    yield
    own_redis.start()


def paused(own_redis):
    own_redis.pause()
    yield
    own_redis.resume()


def restarted(own_redis):
    own_redis.restart()
    yield


def lazy(own_redis):
    own_redis.stop()
    yield
    own_redis.start()
    yield
    own_redis.pause()
    yield
    own_redis.kill()
    yield
    own_redis.start()


@pytest.mark.parametrize("trouble", [killed, paused, restarted, lazy])
def test_redis_in_trouble_under_load_loses_nothing_doubles_nothing_and_delays_no_call(
    trouble, own_redis, tmp_path, impatient, lanes_of, until
):
    producer = Producer(with_server(own_redis, tmp_path))
    with Load(producer) as load:
        load.grow(until)
        for _ in range(2):
            for _ in trouble(own_redis):
                load.grow(until, 300)
    assert producer.flush(timeout=20).left == 0

    with connect(own_redis.url) as redis:
        entries = lanes_of(redis).entries()
    assert [entry.envelope.id for entry in entries] == load.ids
    assert in_order(entries)
    assert load.slowest < QUICK_SECONDS
    producer.close(0)


def test_a_script_that_ran_though_its_answer_was_lost_doubles_nothing(
    own_redis, tmp_path, impatient, lanes_of, until, monkeypatch
):
    # A survey that is asked for rarely: what waits for an answer is the script.
    monkeypatch.setattr("klaviyo_relay.lane_entrance._SURVEY_SECONDS", 60.0)
    producer = Producer(with_server(own_redis, tmp_path))
    ids = [producer.track("M", email=ADA)]
    assert producer.flush(10).left == 0
    own_redis.pause()
    ids += [producer.track("M", email=ADA) for _ in range(20)]
    until(lambda: shipper_of(producer)._backoff.failures >= 1)  # sent, and no answer in time
    own_redis.resume()  # now Redis runs what stands in its socket, and then what is sent again

    assert producer.flush(10).left == 0
    with connect(own_redis.url) as redis:
        assert lanes_of(redis).ids() == ids
        assert lanes_of(redis).counts()["accepted"] == 21
    producer.close(0)


def test_a_redis_that_comes_back_empty_gets_the_rows_of_the_window_again(
    own_redis, tmp_path, impatient, lanes_of, until
):
    producer = Producer(with_server(own_redis, tmp_path))
    ids = [producer.track("M", email=ADA) for _ in range(700)]
    profile = producer.identify(email=ADA, first_name="Ada")
    assert producer.flush(10).left == 0
    with connect(own_redis.url) as redis:
        redis.flushall()
    own_redis.restart()

    with connect(own_redis.url) as redis:
        until(lambda: lanes_of(redis).length() == 700)
        until(lambda: lanes_of(redis).length("profiles") == 1)
        assert lanes_of(redis).ids() == ids
        assert lanes_of(redis).ids("profiles") == [profile]
        assert redis.smembers(Keys().register) == {EVENTS.encode(), PROFILES.encode()}
    producer.close(0)


def test_a_redis_that_comes_back_older_gets_just_what_it_has_lost(
    own_redis, tmp_path, impatient, lanes_of, until
):
    producer = Producer(with_server(own_redis, tmp_path))
    with connect(own_redis.url) as redis:
        redis.config_set("appendfsync", "always")
    early = [producer.track("M", email=ADA) for _ in range(300)]
    assert producer.flush(10).left == 0
    shutil.copytree(own_redis.directory / "appendonlydir", tmp_path / "older")
    late = [producer.track("M", email=ADA) for _ in range(300)]
    assert producer.flush(10).left == 0

    own_redis.kill()
    shutil.rmtree(own_redis.directory / "appendonlydir")
    shutil.copytree(tmp_path / "older", own_redis.directory / "appendonlydir")
    own_redis.start()
    last = producer.track("M", email=ADA)

    assert producer.flush(10).left == 0
    with connect(own_redis.url) as redis:
        until(lambda: lanes_of(redis).length() >= 601)
        entries = lanes_of(redis).entries()
    assert [entry.envelope.id for entry in entries] == [*early, *late, last]
    assert in_order(entries)
    producer.close(0)


def test_a_redis_emptied_while_it_runs_gets_the_window_again_with_the_next_command(
    impatient, producer, redis, lanes, until
):
    ids = [producer.track("M", email=ADA) for _ in range(10)]
    assert producer.flush(10).left == 0
    redis.flushall()

    ids.append(producer.track("M", email=ADA))

    until(lambda: lanes.length() == 11)
    assert lanes.ids() == ids


def test_a_redis_emptied_while_it_runs_gets_its_register_again(
    impatient, producer, redis, lanes, until
):
    producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    redis.flushall()

    producer.track("M", email=ADA)
    until(lambda: lanes.length() == 2)

    assert redis.smembers(Keys().register) == {EVENTS.encode()}


def test_a_primary_that_became_a_replica_is_left_for_the_one_that_took_over(
    moving, tmp_path, impatient, lanes_of
):
    producer = Producer(with_server(moving, tmp_path))
    ids = [producer.track("M", email=ADA) for _ in range(10)]
    assert producer.flush(10).left == 0
    moving.move()

    ids += [producer.track("M", email=ADA) for _ in range(10)]

    assert producer.flush(10).left == 0
    assert lanes_of(moving.primary).ids() == ids
    producer.close(0)


# --- fullness -------------------------------------------------------------------------------------


def test_a_full_lane_is_held_and_does_not_stop_the_others(
    impatient, relay_settings, redis, lanes, until
):
    narrow = msgspec.structs.replace(relay_settings, lane_max_bytes=2_000)
    producer = Producer(narrow)
    ids = []
    for number in range(60):
        ids.append(producer.track("M", email=ADA, properties={"x": "y" * 100, "n": number}))
        producer.flush(timeout=0.2 if number == 30 else 0.0)
    until(lambda: lanes.counts().get("bytes", 0) >= 2_000)
    profile = producer.identify(email=ADA)

    until(lambda: lanes.ids("profiles") == [profile])
    waiting = producer.flush(timeout=0.1).left
    assert 0 < waiting == 60 - lanes.length()

    redis.hset(Keys().lane("default", "events").counts, "bytes", -(10**9))  # emptied by workers
    assert producer.flush(timeout=10).left == 0
    assert lanes.ids() == ids
    producer.close(0)


def test_a_held_lane_drains_without_pauses_once_it_may(monkeypatch, relay_settings, redis, lanes):
    monkeypatch.setattr(shipment, "BATCH_COMMANDS", 20)
    monkeypatch.setattr(shipper, "IDLE_SECONDS", 1.0)
    lane = Keys().lane("default", "events")
    redis.hset(lane.counts, "bytes", 10**12)
    producer = Producer(relay_settings)
    for _ in range(120):
        producer.track("M", email=ADA)
    assert producer.flush(timeout=0.3).left == 120
    redis.hset(lane.counts, "bytes", 0)

    left = producer.flush(timeout=2.5).left
    producer.close(0)

    assert left == 0


def test_a_full_lane_is_complained_of_once_a_minute(
    impatient, relay_settings, redis, until, caplog
):
    redis.hset(Keys().lane("default", "events").counts, "bytes", 10**12)
    producer = Producer(relay_settings)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            producer.track("M", email=ADA)
            producer.flush(timeout=0.01)
        until(lambda: caplog.records)
        assert producer.flush(timeout=0.3).left == 20
    producer.close(0)

    (said,) = caplog.records
    assert "the lane default:events holds as many bytes as it may" in said.getMessage()
    assert "commands wait in the spool" in said.getMessage()


def test_a_redis_above_its_watermark_takes_nothing_until_it_is_below_again(
    tmp_path, impatient, lanes_of, until, caplog
):
    with PrivateRedis(maxmemory=20_000_000) as own_redis, connect(own_redis.url) as redis:
        for number in range(17):
            redis.set(f"somebody else's {number}", b"x" * 1_000_000)
        producer = Producer(with_server(own_redis, tmp_path))
        with caplog.at_level(logging.WARNING):
            ids = [producer.track("M", email=ADA) for _ in range(20)]
            assert producer.flush(timeout=0.3).left == 20
        assert lanes_of(redis).length() == 0
        assert "watermark" in caplog.text

        redis.flushall()

        assert producer.flush(timeout=10).left == 0
        assert lanes_of(redis).ids() == ids
        producer.close(0)


# --- flush ----------------------------------------------------------------------------------------


def test_flush_says_how_many_commands_are_only_in_the_spool(own_redis, tmp_path, impatient):
    producer = Producer(with_server(own_redis, tmp_path))
    producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    own_redis.kill()
    for _ in range(7):
        producer.track("M", email=ADA)
    producer.identify(email=ADA)

    began = time.monotonic()
    assert producer.flush(timeout=0.3).left == 8
    assert time.monotonic() - began < 2
    own_redis.start()
    assert producer.flush(timeout=10).left == 0
    producer.close(0)


def test_a_redis_that_is_away_is_complained_of_once_a_minute_without_its_password(
    own_redis, tmp_path, impatient, caplog, until
):
    password = own_redis.url.split(":")[2].split("@")[0]
    own_redis.kill()
    producer = Producer(with_server(own_redis, tmp_path))
    with caplog.at_level(logging.DEBUG):
        producer.track("M", email=ADA, properties={"secret": "geheim7"})
        until(lambda: shipper_of(producer)._backoff.failures > 5)

    said = [record for record in caplog.records if record.name == "klaviyo_relay.shipper"]
    assert len(said) == 1
    assert "commands wait in the spool" in said[0].getMessage()
    for private in (password, ADA, "geheim7"):
        assert private not in caplog.text
    producer.close(0)


def test_the_thread_survives_a_fault_of_ours(impatient, producer, monkeypatch, lanes, caplog):
    real, faults = FileShipment.ship_some, iter([ZeroDivisionError("ours")])

    def ship_some(self, entrance):
        for fault in faults:
            raise fault
        return real(self, entrance)

    monkeypatch.setattr(FileShipment, "ship_some", ship_some)

    identity = producer.track("M", email=ADA)

    assert producer.flush(timeout=10).left == 0
    assert lanes.ids() == [identity]
    assert "ZeroDivisionError: ours" in caplog.text


@pytest.mark.usefixtures("unwritable_log")
def test_the_thread_survives_a_log_that_cannot_be_written(
    impatient, own_redis, tmp_path, lanes_of, until
):
    producer = Producer(with_server(own_redis, tmp_path))
    own_redis.kill()
    identity = producer.track("M", email=ADA)
    until(lambda: shipper_of(producer)._backoff.failures > 2)
    own_redis.start()

    assert producer.flush(timeout=10).left == 0
    with connect(own_redis.url) as redis:
        assert lanes_of(redis).ids() == [identity]
    producer.close(0)


def test_a_file_damaged_while_a_lane_is_held_is_left_and_a_new_one_takes_its_place(
    impatient, relay_settings, redis, lanes, until
):
    counts = Keys().lane("default", "events").counts
    producer = Producer(relay_settings)
    redis.hset(counts, "bytes", 10**12)
    for _ in range(1_000):
        producer.track("M", email=ADA)
    first, spool = shipper_of(producer), spool_of(producer)
    until(lambda: first._own.position == 1_000)

    spool.checkpoint()
    content = bytearray(spool.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    spool.path.write_bytes(content)
    spool._reader.execute("PRAGMA shrink_memory")  # so that it reads the disk, and no copy
    until(lambda: shipper_of(producer) is not first)

    assert first.flush(timeout=0.1).left == 1_000
    redis.hset(counts, "bytes", 0)
    later = producer.track("M", email=ADA)
    assert producer.flush(timeout=10).left == 0
    assert later in lanes.ids()
    producer.close(0)


# --- the disk -------------------------------------------------------------------------------------


def test_the_log_is_moved_into_the_file_though_redis_is_away(impatient, away, until):
    producer = Producer(away)
    for _ in range(300):
        producer.track("M", email=ADA, properties={"x": "y" * 90_000})
    spool = spool_of(producer)

    until(lambda: spool.path.stat().st_size > 10_000_000)
    producer.close(0)


def test_a_spool_directory_that_is_removed_while_redis_is_away_comes_back_with_its_commands(
    impatient, own_redis, tmp_path, lanes_of, until, stored_ids
):
    settings = with_server(own_redis, tmp_path)
    producer = Producer(settings)
    ids = [producer.track("M", email=ADA)]
    assert producer.flush(10).left == 0
    own_redis.pause()
    ids.append(producer.track("M", email=ADA))
    shutil.rmtree(settings.spool_directory)
    ids.append(producer.track("M", email=ADA))

    until(spool_of(producer).path.exists)
    ids.append(producer.track("M", email=ADA))
    assert stored_ids(settings) == ids
    own_redis.resume()

    assert producer.flush(10).left == 0
    with connect(own_redis.url) as redis:
        assert lanes_of(redis).ids() == ids
    producer.close(0)


def test_many_rows_that_are_due_are_deleted_within_seconds(monkeypatch, producer, until):
    monkeypatch.setattr(shipment, "RESHIP_SECONDS", 0.5)
    for _ in range(6_000):
        producer.track("M", email=ADA)
    assert producer.flush(timeout=30).left == 0
    spool = spool_of(producer)

    began = time.monotonic()
    until(lambda: spool.read(0, 1) == [])
    # At one deletion a second it would take half a minute.
    assert time.monotonic() - began < 10


def test_a_large_file_is_removed_once_nobody_needs_it_and_the_next_command_opens_another(
    monkeypatch, impatient, relay_settings, lanes, until
):
    monkeypatch.setattr(shipment, "RESHIP_SECONDS", 0.3)
    monkeypatch.setattr(shipper, "LARGE_BYTES", 100_000)
    producer = Producer(relay_settings)
    ids = [producer.track("M", email=ADA, properties={"x": "y" * 1_000}) for _ in range(200)]
    directory = relay_settings.spool_directory

    until(lambda: not list(directory.iterdir()))
    assert producer.flush(timeout=1).left == 0
    ids.append(producer.track("M", email=ADA))

    assert producer.flush(timeout=10).left == 0
    assert len(list(directory.glob("*.spool"))) == 1
    assert lanes.ids() == ids
    producer.close(0)


# --- what others left behind ----------------------------------------------------------------------

FORSAKEN = """
    import os, sys
    from pathlib import Path
    from klaviyo_relay import Producer, Settings
    producer = Producer(Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2])))
    while True:
        os.write(1, producer.track("M", email="ada@lovelace.dev").encode() + b"\\n")
"""


def test_what_a_killed_process_left_is_shipped_by_another_and_its_file_removed(
    own_redis, tmp_path, impatient, monkeypatch, program, lanes_of, until
):
    monkeypatch.setattr(orphans, "RESHIP_SECONDS", 0.3)
    monkeypatch.setattr(shipper, "ORPHANS_EVERY_SECONDS", 0.2)
    settings = with_server(own_redis, tmp_path)
    own_redis.pause()  # so that the victim ships nothing itself
    process = program(FORSAKEN, own_redis.url, settings.spool_directory)
    said = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    said += list(process.stdout)
    ids = [line.strip() for line in said if line.endswith("\n")]
    process.wait(10)
    own_redis.resume()

    producer = Producer(settings)
    mine = producer.track("M", email=ADA)
    with connect(own_redis.url) as redis:
        until(lambda: lanes_of(redis).length() > len(ids))
        entries = lanes_of(redis).entries()
    found = [entry.envelope.id for entry in entries if entry.envelope.id != mine]
    # A row may be stored whose id the killed process could no longer print.
    assert found[: len(ids)] == ids
    assert len(found) - len(ids) <= 1
    assert in_order(entries)
    own = {spool_of(producer).path, spool_of(producer).lock.path}
    until(lambda: not [path for path in settings.spool_directory.iterdir()
                            if path.suffix in (".spool", ".lock") and path not in own])  # fmt: skip
    producer.close(0)


# --- the end --------------------------------------------------------------------------------------


def test_close_keeps_to_its_timeout_though_redis_does_not_answer(own_redis, tmp_path, monkeypatch):
    monkeypatch.setattr(shipper, "connect", lambda url: connect(url, answer_seconds=2.0))
    producer = Producer(with_server(own_redis, tmp_path))
    producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    own_redis.pause()
    producer.track("M", email=ADA)

    began = time.monotonic()
    producer.close(timeout=0.2)
    took = time.monotonic() - began

    assert took < 1.5


def test_a_spool_whose_lock_was_given_away_takes_no_more(own_redis, tmp_path, until):
    producer = Producer(with_server(own_redis, tmp_path))
    producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    spool = spool_of(producer)  # as a call in another thread has read it a moment before
    own_redis.pause()
    producer.track("M", email=ADA)
    producer.close(timeout=0.1)
    lock = until(lambda: SpoolLock.take(spool.lock.path))

    try:
        with pytest.raises(SpoolError):
            spool.append([(EVENTS, 0, envelope())])
    finally:
        lock.release()
        own_redis.resume()
