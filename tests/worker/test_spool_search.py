"""The spool search: the row of a command, whose file it is, and whether Redis has it, too."""

from __future__ import annotations

import pytest

from klaviyo_relay import Producer, Settings
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.spool import SpoolLock
from klaviyo_relay_worker import spool_search
from klaviyo_relay_worker.spool_search import look
from spool_files import EVENTS, closed_to_us, left_behind


@pytest.fixture
def away(tmp_path):
    """Settings of a Redis that never answers."""
    return Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "away")


def places(identity, settings, entrance=None, *, with_payload=False):
    found = list(look(identity, settings, entrance, with_payload=with_payload))
    return len(found), [place for some in found for place in some or ()]


def test_without_files_there_is_nowhere_to_look(away):
    assert places("any", away) == (0, [])


def test_a_row_is_found_among_others_by_the_whole_id(away):
    producer = Producer(away)
    ids = [producer.track("M", email=f"p{number}@shop.io") for number in range(3)]
    files, [place] = places(ids[1], away)
    assert (files, place.lane, place.verb, place.row) == (1, "default:events", "track", 2)
    assert (place.is_shipped, place.is_orphaned, place.payload) == (None, False, None)
    assert places(ids[1][:-1], away) == (1, [])
    producer.close(0)


def test_a_file_whose_process_has_ended_is_an_orphan(away):
    producer = Producer(away)
    identity = producer.track("M", email="ada@lovelace.dev")
    producer.close(0)
    _, [place] = places(identity, away)
    assert place.is_orphaned


def test_a_file_that_may_not_be_opened_is_no_reason_to_look_into_no_other(away):
    closed_to_us(left_behind(away, EVENTS))
    producer = Producer(away)
    identity = producer.track("M", email="ada@lovelace.dev")
    looked_at = list(look(identity, away, None, with_payload=False))
    [place] = next(found for found in looked_at if found)
    assert None in looked_at
    assert not place.is_orphaned
    producer.close(0)


def test_the_payload_is_for_whoever_asks(away):
    producer = Producer(away)
    identity = producer.track("M", email="ada@lovelace.dev")
    _, [place] = places(identity, away, with_payload=True)
    assert b"ada@lovelace.dev" in bytes(place.payload)
    producer.close(0)


def test_redis_tells_whether_it_has_a_row(redis, keys, relay_settings):
    producer = Producer(relay_settings)
    identity = producer.track("M", email="ada@lovelace.dev")
    assert producer.flush(10).left == 0
    entrance = LaneEntrance(redis, keys, 10**9)
    _, [place] = places(identity, relay_settings, entrance)
    assert place.is_shipped
    redis.delete(keys.lane("default", "events").marks)
    _, [place] = places(identity, relay_settings, entrance)
    assert place.is_shipped is False
    producer.close(0)


def damage(path, where):
    """Write rubbish at a fraction of a file's length; returns the length."""
    content = bytearray(path.read_bytes())
    at = int(len(content) * where)
    content[at : at + 4_096] = b"\xff" * 4_096
    path.write_bytes(bytes(content))
    return len(content)


def test_a_damaged_file_still_gives_what_is_whole_in_it(away):
    producer = Producer(away)
    ids = [producer.track("M", email="ada@lovelace.dev") for _ in range(2_000)]
    producer.close(0)
    [path] = away.spool_dir.glob("*.spool")
    assert damage(path, 0.5) > 100_000
    found = [len(places(identity, away)[1]) for identity in (ids[0], ids[-1])]
    assert found == [1, 1]


def test_a_row_that_was_read_before_the_damage_is_found_once(away):
    producer = Producer(away)
    ids = [producer.track("M", email="ada@lovelace.dev") for _ in range(4_000)]
    producer.close(0)
    [path] = away.spool_dir.glob("*.spool")
    damage(path, 0.9)
    found = [len(places(identity, away)[1]) for identity in (ids[0], ids[-1])]
    assert found == [1, 1]


def test_a_file_that_somebody_removes_meanwhile_leaves_nothing_behind(away, monkeypatch):
    gone = away.spool_directory / f"{away.digest}-0123456789ab.spool"
    away.spool_directory.mkdir()
    monkeypatch.setattr(spool_search, "spool_paths", lambda *_: iter([gone]))
    assert places("any", away) == (1, [])
    assert list(away.spool_directory.iterdir()) == []


def test_a_damaged_file_that_somebody_sets_aside_meanwhile_is_no_fault(away, monkeypatch):
    away.spool_directory.mkdir()
    path = away.spool_directory / f"{away.digest}-0123456789ab.spool"
    path.write_bytes(b"this is no database, but long enough to look like a file" * 50)
    lock = SpoolLock.take(path.with_suffix(".lock"))
    salvage = spool_search.salvage

    def salvage_too_late(path):
        path.unlink()
        lock.path.unlink()
        lock.release()
        return salvage(path)

    monkeypatch.setattr(spool_search, "salvage", salvage_too_late)
    assert places("any", away) == (1, [])
    assert list(away.spool_directory.iterdir()) == []
