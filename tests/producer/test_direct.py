import pytest

from klaviyo_relay import Producer, Settings
from klaviyo_relay.direct import DirectShipment
from klaviyo_relay.errors import RedisUnavailableError, SpoolFullError
from klaviyo_relay_worker.embedded import PrivateRedis

ADA = "ada@lovelace.dev"
ROW = ("default:events", 0, b"message")


@pytest.fixture
def full(producer):
    """A producer whose disk takes no more."""
    producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    writer = producer._spooling.spool._writer
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
    shipment.ship([ROW])

    with pytest.raises(RedisUnavailableError):
        shipment.ship([ROW])


def test_rows_shipped_directly_keep_their_order_and_each_has_its_number(relay_settings, lanes):
    shipment = DirectShipment(relay_settings)

    for number in range(3):
        shipment.ship([("default:events", 0, b"%d" % number), ("default:lists", 0, b"x")])

    assert [entry.message for entry in lanes.entries()] == [b"0", b"1", b"2"]
    numbers = [int(entry.origin.partition(":")[2]) for entry in lanes.entries()]
    assert numbers == sorted(set(numbers))
