import pytest

from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import BATCH_BYTES, LaneEntrance
from klaviyo_relay.shipment import DELETE_ROWS, RESHIP_SECONDS, FileShipment
from klaviyo_relay.spool import OwnSpool
from spool_files import EVENTS, PROFILES

LARGE = b"x" * (BATCH_BYTES // 3)


@pytest.fixture
def spool(relay_settings):
    made = OwnSpool.create(relay_settings.spool_directory, relay_settings.digest)
    yield made
    made.close()


class Weighing(LaneEntrance):
    """Remembers how many bytes each call took."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.bytes = []

    def ship(self, lane, source, numbered, left_at=0):
        self.bytes.append(sum(len(message) for _, message in numbered))
        return super().ship(lane, source, numbered, left_at)


# --- batches --------------------------------------------------------------------------------------


def test_large_rows_are_shipped_in_batches_that_a_slow_link_carries_in_time(redis, spool, lanes):
    entrance = Weighing(redis, Keys(), 10**9)
    spool.append([(EVENTS, 0, LARGE)] * 10)
    shipment = FileShipment(spool)

    while shipment.ship_some(entrance):
        pass

    assert [entry.message for entry in lanes.entries()] == [LARGE] * 10
    assert max(entrance.bytes) <= BATCH_BYTES


def test_large_rows_that_a_lane_held_are_shipped_in_such_batches_too(redis, spool, lanes):
    entrance = Weighing(redis, Keys(), 10**9)
    redis.hset(Keys().lane("default", "events").counts, "bytes", 10**9)
    spool.append([(EVENTS, 0, LARGE)] * 10)
    shipment = FileShipment(spool)
    while shipment.ship_some(entrance):
        pass
    redis.hset(Keys().lane("default", "events").counts, "bytes", 0)

    while shipment.ship_some(entrance):
        pass

    assert lanes.length() == 10
    assert max(entrance.bytes) <= BATCH_BYTES


# --- tidying --------------------------------------------------------------------------------------


def tidied(shipment):
    """How many times it was tidied until no more was due."""
    times = 1
    while shipment.tidy():
        times += 1
    return times


def test_what_is_due_is_deleted_a_few_rows_at_a_time_until_nothing_is(clock, entrance, spool):
    spool.append([(EVENTS, 0, b"x")] * 2 * DELETE_ROWS)
    shipment = FileShipment(spool)
    while shipment.ship_some(entrance):
        pass
    assert tidied(shipment) == 1
    assert len(spool.read(0, 10_000)) == 2 * DELETE_ROWS

    clock.seconds += RESHIP_SECONDS + 1
    assert shipment.tidy()
    assert len(spool.read(0, 10_000)) == DELETE_ROWS

    tidied(shipment)
    assert spool.read(0, 10) == []


def test_small_batches_that_are_due_together_are_deleted_together(clock, entrance, spool):
    shipment = FileShipment(spool)
    for _ in range(100):
        spool.append([(EVENTS, 0, b"x")])
        shipment.ship_some(entrance)

    clock.seconds += RESHIP_SECONDS + 1

    assert tidied(shipment) == 1
    assert spool.read(0, 10) == []


def test_rows_shipped_before_redis_was_restarted_are_deleted_after_the_window(
    clock, entrance, spool
):
    spool.append([(EVENTS, 0, b"x")] * 10)
    shipment = FileShipment(spool)
    shipment.ship_some(entrance)
    shipment.restart(entrance)

    clock.seconds += RESHIP_SECONDS - 1
    shipment.tidy()
    assert len(spool.read(0, 100)) == 10
    clock.seconds += 2
    shipment.tidy()

    assert spool.read(0, 100) == []


def test_deletion_begins_at_the_first_row_that_is_there(clock, entrance, spool):
    spool.append([(EVENTS, 0, b"x")] * 50 * DELETE_ROWS)
    spool.append([(PROFILES, 0, b"x")])
    spool.delete(EVENTS, 0, 50 * DELETE_ROWS - 1)
    shipment = FileShipment(spool)
    while shipment.ship_some(entrance):
        pass
    shipment.restart(entrance)

    clock.seconds += RESHIP_SECONDS + 1

    assert tidied(shipment) == 1
    assert spool.read(0, 10) == []


def test_a_file_is_spent_when_all_of_its_rows_have_been_in_redis_for_the_window(
    clock, entrance, spool
):
    shipment = FileShipment(spool)
    spool.append([(EVENTS, 0, b"x")])
    assert not shipment.is_spent()
    shipment.ship_some(entrance)
    shipment.tidy()
    assert not shipment.is_spent()

    clock.seconds += RESHIP_SECONDS + 1
    shipment.tidy()
    assert shipment.is_spent()
    spool.append([(EVENTS, 0, b"x")])
    assert not shipment.is_spent()


def test_a_file_with_rows_of_a_held_lane_is_not_spent(clock, redis, spool):
    shipment = FileShipment(spool)
    spool.append([(EVENTS, 0, b"x")])
    shipment.ship_some(LaneEntrance(redis, Keys(), 0))

    clock.seconds += RESHIP_SECONDS + 1
    shipment.tidy()

    assert not shipment.is_spent()


# --- a lane that is full --------------------------------------------------------------------------


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
