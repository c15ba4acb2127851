# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name

import logging
import shutil
import signal
import threading
import time
from itertools import pairwise

import msgspec
import pytest
from redis.exceptions import RedisError

from klaviyo_relay import Identify, Producer, Settings, Track, shipper
from klaviyo_relay import spool as spool_module
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.errors import SpoolError
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.shipper import FileShipment, ship_orphans
from klaviyo_relay.spool import OwnSpool, SpoolLock, milliseconds
from klaviyo_relay_worker.embedded import PrivateRedis

ADA = "ada@lovelace.dev"
EVENTS, PROFILES = "default:events", "default:profiles"
# Much more than a track() needs (20 us), much less than any wait for Redis (2 s and more).
QUICK_SECONDS = 0.5

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def impatient(monkeypatch):
    """Everything that the shipper waits for takes a tenth of a second."""
    monkeypatch.setattr(shipper, "BACKOFF_MOST_SECONDS", 0.1)
    monkeypatch.setattr(shipper, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(shipper, "FULL_SECONDS", 0.05)
    monkeypatch.setattr("klaviyo_relay.lane_entrance._SURVEY_SECONDS", 0.05)
    monkeypatch.setattr(shipper, "connect", lambda url: connect(url, answer_seconds=0.3))


@pytest.fixture
def entrance(redis):
    return LaneEntrance(redis, Keys(), 10**9)


@pytest.fixture
def clock(monkeypatch):
    """A clock of the shipper's that the test turns."""

    class Clock:
        def __init__(self):
            # Marks are dated by Redis; ours begins where that one is.
            self.seconds = time.time()

        def monotonic(self):
            return self.seconds

        def milliseconds(self):
            return int(self.seconds * 1000)

    made = Clock()
    monkeypatch.setattr(shipper, "time", made)
    monkeypatch.setattr(shipper, "milliseconds", made.milliseconds)
    monkeypatch.setattr(LaneEntrance, "now", lambda _: made.seconds)
    return made


def envelope(command=None, at=0):
    command = command or Track(metric="M", email=ADA)
    return encode(Envelope(id=new_id(), account="default", at=at, command=command))


def left_behind(settings, *lanes, at=None, name=None):
    """The spool file of a process that is dead, with a row for each lane."""
    at = milliseconds() if at is None else at
    spool = OwnSpool.create(settings.spool_directory, name or settings.digest)
    for lane in lanes:
        command = Track(metric="M", email=ADA) if lane == EVENTS else Identify(email=ADA)
        spool.append([(lane, at, envelope(command))])
    spool.close()
    return spool.path


def with_server(own_redis, tmp_path, **more):
    return Settings(redis_url=own_redis.url, spool_dir=tmp_path / "spool", exit_seconds=0.0, **more)


def in_order(entries):
    """Whether the rows of each source stand in their order, none of them twice."""
    of_source = {}
    for entry in entries:
        source, _, number = entry.origin.partition(":")
        of_source.setdefault(source, []).append(int(number))
    return all(a < b for numbers in of_source.values() for a, b in pairwise(numbers))


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
    until(lambda: producer._spooling.shipper._is_idle)
    began = time.monotonic()

    producer.track("M", email=ADA)
    until(lambda: lanes.length() == 2)

    assert time.monotonic() - began < shipper.IDLE_SECONDS / 2


def test_shipped_rows_stay_for_the_window_and_are_deleted_after_it(
    monkeypatch, impatient, producer, until
):
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 0.7)
    shipped_after = time.monotonic()
    for _ in range(700):
        producer.track("M", email=ADA)
    assert producer.flush(timeout=10).left == 0
    spool = producer._spooling.spool

    if time.monotonic() - shipped_after < 0.6:
        assert len(spool.read(0, 1_000)) == 700
    until(lambda: spool.read(0, 1_000) == [])
    assert time.monotonic() - shipped_after > 0.7


def test_a_row_that_waits_longer_than_the_window_is_still_shipped(
    monkeypatch, impatient, own_redis, tmp_path, lanes_of, until
):
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 0.1)
    producer = Producer(with_server(own_redis, tmp_path))
    first = producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    own_redis.kill()
    second = producer.track("M", email=ADA)
    until(lambda: producer._spooling.shipper._backoff.failures > 4)
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
    producer._spooling.shipper._backoff.failures = 1_023
    until(lambda: producer._spooling.shipper._backoff.failures > 1_025)
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
    until(lambda: producer._spooling.shipper._backoff.failures >= 1)  # sent, and no answer in time
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


def test_rows_of_a_held_lane_stay_in_the_file_whatever_the_window(clock, redis, relay_settings):
    narrow = LaneEntrance(redis, Keys(), 1)
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    shipment = FileShipment(spool)
    spool.append([(EVENTS, 0, b"fills the lane")])
    spool.append([(PROFILES, 0, b"goes")])
    shipment.ship_some(narrow)
    spool.append([(EVENTS, 0, b"is held")])
    shipment.ship_some(narrow)

    clock.seconds += 100
    for _ in range(5):
        shipment.tidy()

    assert b"is held" in [row[2] for row in spool.read(0, 10)]
    assert shipment.left == 1
    spool.close()


def test_what_is_left_can_be_counted_while_the_thread_frees_a_lane(
    redis, relay_settings, monkeypatch
):
    narrow, wide = LaneEntrance(redis, Keys(), 1), LaneEntrance(redis, Keys(), 10**9)
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    shipment = FileShipment(spool)
    for lane in (EVENTS, PROFILES):
        spool.append([(lane, 0, b"fills the lane")])
    shipment.ship_some(narrow)
    for lane in (EVENTS, PROFILES):
        spool.append([(lane, 0, b"is held")])
    shipment.ship_some(narrow)
    real = spool.count

    def count(*arguments):
        """Meanwhile, as the shipper's thread may at any time, ship what is held."""
        for _ in range(2):
            shipment.ship_some(wide)
        return real(*arguments)

    monkeypatch.setattr(spool, "count", count)
    try:
        assert shipment.left == 2  # as it was when the count began
    finally:
        spool.close()


def test_rows_of_a_lane_once_held_stay_for_the_window_after_they_were_shipped(
    clock, redis, relay_settings
):
    narrow, wide = LaneEntrance(redis, Keys(), 1), LaneEntrance(redis, Keys(), 10**9)
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    shipment = FileShipment(spool)
    spool.append([(EVENTS, 0, b"fills the lane")])
    shipment.ship_some(narrow)
    spool.append([(EVENTS, 0, b"is held")])
    shipment.ship_some(narrow)

    clock.seconds += 100
    shipment.ship_some(wide)
    shipment.ship_some(wide)
    assert shipment.left == 0
    shipment.tidy()

    assert b"is held" in [row[2] for row in spool.read(0, 10)]
    spool.close()


def test_rows_of_a_lane_once_held_are_deleted_in_the_end(clock, redis, relay_settings):
    narrow, wide = LaneEntrance(redis, Keys(), 1), LaneEntrance(redis, Keys(), 10**9)
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    shipment = FileShipment(spool)
    spool.append([(EVENTS, 0, b"fills the lane")])
    shipment.ship_some(narrow)
    spool.append([(EVENTS, 0, b"is held")])
    shipment.ship_some(narrow)
    clock.seconds += 100
    shipment.tidy()

    shipment.ship_some(wide)
    spool.append([(EVENTS, 0, b"later")])
    for _ in range(5):
        shipment.ship_some(wide)
        clock.seconds += 100
        shipment.tidy()

    assert spool.read(0, 10) == []
    spool.close()


def test_a_held_lane_drains_without_pauses_once_it_may(monkeypatch, relay_settings, redis, lanes):
    monkeypatch.setattr(shipper, "BATCH_ROWS", 20)
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
        until(lambda: producer._spooling.shipper._backoff.failures > 5)

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
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 0.3)
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
    own = {producer._spooling.spool.path, producer._spooling.spool.lock.path}
    until(lambda: not [path for path in settings.spool_directory.iterdir()
                            if path.suffix in (".spool", ".lock") and path not in own])  # fmt: skip
    producer.close(0)


@pytest.mark.parametrize("passes", [1, 4])
def test_an_orphan_is_shipped_once_however_often_it_is_looked_at(
    entrance, relay_settings, lanes, passes
):
    left_behind(relay_settings, EVENTS, EVENTS, EVENTS)

    for _ in range(passes):
        ship_orphans(entrance, relay_settings)

    assert lanes.length() == 3
    assert in_order(lanes.entries())


def test_an_orphan_is_kept_for_the_window_and_removed_after_it(entrance, relay_settings, clock):
    path = left_behind(relay_settings, EVENTS, at=clock.milliseconds())

    ship_orphans(entrance, relay_settings)
    clock.seconds += shipper.RESHIP_SECONDS - 1
    ship_orphans(entrance, relay_settings)
    assert path.exists()

    clock.seconds += 2
    ship_orphans(entrance, relay_settings)
    assert not list(relay_settings.spool_directory.iterdir())


def test_an_orphan_with_rows_in_two_lanes_is_removed_as_well(entrance, relay_settings, clock):
    left_behind(relay_settings, PROFILES, EVENTS, at=clock.milliseconds())

    for _ in range(5):
        ship_orphans(entrance, relay_settings)
        clock.seconds += shipper.RESHIP_SECONDS + 1

    assert not list(relay_settings.spool_directory.iterdir())


def test_an_old_orphan_is_kept_for_the_window_though_two_processes_look_at_it(
    entrance, relay_settings, clock
):
    path = left_behind(relay_settings, EVENTS, at=clock.milliseconds() - 60_000)

    ship_orphans(entrance, relay_settings)
    clock.seconds += 0.1
    ship_orphans(entrance, relay_settings)

    assert path.exists()


def test_an_orphan_whose_rows_redis_lost_is_shipped_again(
    entrance, relay_settings, clock, redis, lanes
):
    left_behind(relay_settings, EVENTS, EVENTS, at=clock.milliseconds())
    ship_orphans(entrance, relay_settings)
    redis.flushall()

    ship_orphans(entrance, relay_settings)

    assert lanes.length() == 2


def test_the_spool_of_another_redis_or_namespace_is_left_alone(entrance, relay_settings, lanes):
    path = left_behind(relay_settings, EVENTS, name="ffffffff")

    assert ship_orphans(entrance, relay_settings) == 0
    assert lanes.length() == 0
    assert path.exists()


@pytest.mark.parametrize(("seconds", "shipped"), [(5, 0), (31, 2)], ids=["busy", "frozen"])
def test_only_what_waits_for_long_is_shipped_for_a_living_process(
    entrance, relay_settings, lanes, clock, seconds, shipped
):
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    for _ in range(2):
        spool.append([(EVENTS, clock.milliseconds(), envelope())])
    clock.seconds += seconds

    ship_orphans(entrance, relay_settings)
    clock.seconds += 100
    if shipped:
        ship_orphans(entrance, relay_settings)

    assert lanes.length() == shipped
    assert spool.path.exists()
    own = FileShipment(spool)
    own.ship_some(entrance)
    assert lanes.length() == 2
    spool.close()


def test_a_process_does_not_take_its_own_spool_for_an_orphan(entrance, relay_settings):
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)

    assert ship_orphans(entrance, relay_settings, besides=spool.source) == 0
    spool.close()


def test_a_corrupt_spool_is_set_aside_and_the_others_are_shipped(
    entrance, relay_settings, lanes, caplog
):
    broken = left_behind(relay_settings, EVENTS)
    broken.write_bytes(b"no database at all " * 400)
    left_behind(relay_settings, EVENTS)

    ship_orphans(entrance, relay_settings)

    assert lanes.length() == 1
    assert not broken.exists()
    assert broken.with_name(broken.name + ".corrupt").read_bytes().startswith(b"no database")
    assert str(broken) in caplog.text
    assert ship_orphans(entrance, relay_settings) == 1


def test_a_corrupt_spool_that_another_process_sets_aside_meanwhile_is_left_to_it(
    entrance, relay_settings, lanes, monkeypatch
):
    broken = left_behind(relay_settings, EVENTS)
    broken.write_bytes(b"no database at all " * 400)
    left_behind(relay_settings, EVENTS)
    lock = SpoolLock.take(broken.with_suffix(".lock"))
    look = spool_module.FoundSpool.__init__

    def look_while_it_is_set_aside(found, path, own):
        try:
            look(found, path, own)
        finally:
            if path == broken:
                broken.rename(broken.with_suffix(".aside"))
                lock.path.unlink()
                lock.release()

    monkeypatch.setattr(spool_module.FoundSpool, "__init__", look_while_it_is_set_aside)

    ship_orphans(entrance, relay_settings)

    assert lanes.length() == 1
    assert not broken.exists()
    assert not lock.path.exists()


def test_a_spool_that_another_process_removes_meanwhile_leaves_nothing_behind(
    entrance, relay_settings, lanes, monkeypatch, caplog
):
    gone, there = (left_behind(relay_settings, EVENTS) for _ in range(2))
    gone.unlink()
    gone.with_suffix(".lock").unlink()
    monkeypatch.setattr(shipper, "spool_paths", lambda *_: iter([gone, there]))

    assert ship_orphans(entrance, relay_settings) == 1

    assert lanes.length() == 1
    assert not list(relay_settings.spool_directory.glob(f"{gone.stem}*"))
    assert caplog.text == ""


def test_a_file_that_is_only_locked_for_a_moment_is_not_set_aside(
    entrance, relay_settings, monkeypatch, program, line_of
):
    monkeypatch.setattr(spool_module, "BUSY_SECONDS", 0.05)
    process = program(
        """
        import signal, sqlite3, sys
        from pathlib import Path
        from klaviyo_relay.spool import SpoolLock
        path = Path(sys.argv[1])
        path.parent.mkdir(parents=True)
        SpoolLock.take(path.with_suffix(".lock"))
        # As OwnSpool does it, a moment before the file is in WAL mode.
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        print("locked", flush=True)
        signal.pause()
        """,
        relay_settings.spool_directory / f"{relay_settings.digest}-0123456789ab.spool",
    )
    assert line_of(process) == "locked\n"

    ship_orphans(entrance, relay_settings)

    names = [path.suffix for path in relay_settings.spool_directory.iterdir()]
    assert ".corrupt" not in names


def test_two_processes_that_ship_the_same_orphan_at_once_ship_each_row_once(
    redis_url, relay_settings, lanes
):
    for _ in range(5):
        left_behind(relay_settings, *[EVENTS] * 40)
    entrances = [LaneEntrance(connect(redis_url), Keys(), 10**9) for _ in range(4)]
    faults = []

    def work(entrance):
        try:
            ship_orphans(entrance, relay_settings)
        except (RedisError, OSError) as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(entrance,)) for entrance in entrances]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for entrance in entrances:
        entrance.close()

    assert faults == []
    assert lanes.length() == 200
    assert in_order(lanes.entries())


def test_an_orphan_keeps_its_lock_only_while_it_is_looked_at(entrance, relay_settings):
    path = left_behind(relay_settings, EVENTS)

    ship_orphans(entrance, relay_settings)

    lock = SpoolLock.take(path.with_suffix(".lock"))
    assert lock is not None
    lock.release()


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
    spool = producer._spooling.spool  # as a call in another thread has read it a moment before
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
