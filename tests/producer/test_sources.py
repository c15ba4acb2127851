import re

import pytest

from klaviyo_relay import Producer, sources
from klaviyo_relay.outbox.store import new_source
from klaviyo_relay.spool import OwnSpool


def test_no_two_sources_bear_one_name():
    assert len({sources.unique(sources.LOAD) for _ in range(1_000)}) == 1_000


def test_each_kind_of_source_is_known_by_its_prefix(tmp_path):
    spool = OwnSpool.create(tmp_path, "0a1b2c3d")
    spool.close()

    assert re.fullmatch(r"[0-9a-f]{12}", spool.source)
    assert re.fullmatch(r"outbox-[0-9a-f]{12}", new_source())


def test_a_load_bears_the_name_that_it_was_given(relay_settings, redis):
    from klaviyo_relay import Track

    producer = Producer(relay_settings)
    producer.enqueue_many([Track(metric="M", email="ada@lovelace.dev")], source="cdnow")

    assert redis.hkeys("kr:{default:events:bulk}:marks") == [b"load-cdnow"]


@pytest.mark.parametrize(
    ("source", "days"), [("018f3a", 30), ("load-cdnow", 30), ("outbox-1", 30), ("task-018f", 2)]
)
def test_the_mark_of_a_task_goes_sooner_than_those_of_others(source, days):
    assert sources.kept_seconds(source) == days * 86_400
