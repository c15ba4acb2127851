# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name

import threading

import pytest
from redis.exceptions import RedisError

from klaviyo_relay import found_spool, orphans
from klaviyo_relay import spool as spool_module
from klaviyo_relay.complaints import Complaints
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import BATCH_BYTES, LaneEntrance
from klaviyo_relay.orphans import ship_orphans
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.shipment import RESHIP_SECONDS, FileShipment
from klaviyo_relay.spool import OwnSpool, SpoolLock
from spool_files import EVENTS, PROFILES, closed_to_us, envelope, in_order, left_behind


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
    clock.seconds += RESHIP_SECONDS - 1
    ship_orphans(entrance, relay_settings)
    assert path.exists()

    clock.seconds += 2
    ship_orphans(entrance, relay_settings)
    assert not list(relay_settings.spool_directory.iterdir())


def test_an_orphan_with_rows_in_two_lanes_is_removed_as_well(entrance, relay_settings, clock):
    left_behind(relay_settings, PROFILES, EVENTS, at=clock.milliseconds())

    for _ in range(5):
        ship_orphans(entrance, relay_settings)
        clock.seconds += RESHIP_SECONDS + 1

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


def test_a_file_that_may_not_be_opened_is_told_and_the_others_are_shipped(
    entrance, relay_settings, lanes, caplog
):
    another_users = closed_to_us(left_behind(relay_settings, EVENTS))
    left_behind(relay_settings, EVENTS, EVENTS)

    ship_orphans(entrance, relay_settings)

    assert lanes.length() == 2
    (said,) = caplog.records
    assert str(another_users) in said.getMessage()


def test_a_damaged_file_whose_lane_is_full_stays_and_the_others_are_shipped(
    redis, relay_settings, lanes, caplog
):
    broken = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    broken.append([(EVENTS, 0, "no bytes, as only a damaged file gives them")])
    broken.append([(EVENTS, 0, envelope())])
    broken.close()
    left_behind(relay_settings, PROFILES)
    redis.hset(Keys().lane("default", "events").counts, "bytes", 10**9)

    ship_orphans(LaneEntrance(redis, Keys(), 10**9), relay_settings)

    assert lanes.length("profiles") == 1
    assert broken.path.exists()
    assert f"{broken.path} cannot be shipped now: the lane default:events" in caplog.text


def test_an_orphan_whose_lane_is_full_says_so(redis, relay_settings, caplog):
    path = left_behind(relay_settings, EVENTS)
    redis.hset(Keys().lane("default", "events").counts, "bytes", 10**9)

    ship_orphans(LaneEntrance(redis, Keys(), 10**9), relay_settings)

    assert path.exists()
    assert f"{path} cannot be shipped now: the lane default:events" in caplog.text


def test_files_that_cannot_be_shipped_are_told_of_once_a_minute(entrance, relay_settings, caplog):
    for _ in range(2):
        closed_to_us(left_behind(relay_settings, EVENTS))
    complaints = Complaints()

    for _ in range(3):
        ship_orphans(entrance, relay_settings, complaints=complaints)

    assert len(caplog.records) == 2


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


def test_what_a_damaged_spool_still_gives_is_shipped_in_batches_of_their_usual_size(
    entrance, relay_settings, lanes, monkeypatch
):
    spool = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    spool.append([(EVENTS, 0, "no bytes, as only a damaged file gives them")])
    spool.append([(EVENTS, 0, b"x" * (BATCH_BYTES // 3))] * 10)
    spool.close()
    real, sizes = LaneEntrance.ship, []

    def ship(self, lane, source, numbered, left_at=0):
        sizes.append(sum(len(message) for _, message in numbered))
        return real(self, lane, source, numbered, left_at)

    monkeypatch.setattr(LaneEntrance, "ship", ship)

    ship_orphans(entrance, relay_settings)

    assert spool.path.with_name(f"{spool.path.name}.corrupt").exists()
    assert lanes.length() == 10
    assert max(sizes) <= BATCH_BYTES


def test_a_corrupt_spool_that_another_process_sets_aside_meanwhile_is_left_to_it(
    entrance, relay_settings, lanes, monkeypatch
):
    broken = left_behind(relay_settings, EVENTS)
    broken.write_bytes(b"no database at all " * 400)
    left_behind(relay_settings, EVENTS)
    lock = SpoolLock.take(broken.with_suffix(".lock"))
    look = found_spool.FoundSpool.__init__

    def look_while_it_is_set_aside(found, path, own):
        try:
            look(found, path, own)
        finally:
            if path == broken:
                broken.rename(broken.with_suffix(".aside"))
                lock.path.unlink()
                lock.release()

    monkeypatch.setattr(found_spool.FoundSpool, "__init__", look_while_it_is_set_aside)

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
    monkeypatch.setattr(orphans, "spool_paths", lambda *_: iter([gone, there]))

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
