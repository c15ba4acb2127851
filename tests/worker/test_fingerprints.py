"""Fingerprints: what a lane stores is what it has accepted, id by id, and status says so."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay import Identify, Producer, Track
from klaviyo_relay.envelope import Envelope, encode
from klaviyo_relay_worker import fingerprints, status
from klaviyo_relay_worker.fingerprints import Auditor, digest_of, fingerprint_of, split_digests
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Failure, Following, Parked
from klaviyo_relay_worker.status import Status
from settled_lanes import SettledLane


@pytest.fixture
def report(redis, keys):
    return Status(redis, keys).report


@pytest.fixture
def lane(redis, keys):
    return Lane(redis, keys, "default", "profiles")


def test_scripts_find_the_id_because_it_is_an_envelopes_first_field():
    command = Track(metric="M", email="a@x.io")
    message = encode(Envelope(id="one", account="default", at=1, command=command))
    assert message.startswith(b'{"id":"one",')


def test_a_fingerprint_is_52_bits_of_a_digest():
    digest = digest_of(b"one")
    assert (len(digest), fingerprint_of(digest)) == (16, int(digest[:13], 16))
    assert split_digests(digest + digest_of(b"two")) == [digest, digest_of(b"two")]
    assert split_digests("") == []


@pytest.fixture
def settled(redis, keys, relay_settings):
    """A lane of eight with commands in every place; returns the keys of the two in the stream."""
    people = [Identify(email=f"p{n}@x.io") for n in range(8)]
    Producer(relay_settings).enqueue_many(people, bulk=False)
    by_hand = SettledLane(redis, keys, "profiles")
    entries = by_hand.read()
    outcomes = [
        Delivered(), Dead(Failure()), Dropped("r"), Parked(1e9, "x"),
        Following("J", 0), Following("J", 1),
    ]  # fmt: skip
    by_key = {entry.key: one for entry, one in zip(entries, outcomes, strict=False)}
    by_hand.lane.settle(by_hand.lease, entries, by_key, time.time())
    return entries


def verdict(report):
    return {name: report["accounts"]["default"]["lanes"]["profiles"][name] for name in VERDICT}


VERDICT = ("lost", "surplus", "checked")


@pytest.fixture(params=[False, True], ids=["in one step", "page by page"])
def looked_at(request, report, monkeypatch):
    """The verdict on the lane, by either way of looking at its ids."""
    if request.param:
        monkeypatch.setattr(status, "IDS_MOST", 0)
        monkeypatch.setattr(fingerprints, "_PAGE", 2)
    return lambda: verdict(report(audits=request.param))


def test_what_adds_up_is_neither_lost_nor_too_much(settled, looked_at):
    assert looked_at() == {"lost": 0, "surplus": 0, "checked": "ids"}


def test_an_entry_deleted_by_hand_is_lost(redis, settled, lane, looked_at):
    redis.xdel(lane.keys.stream, settled[-1].key)
    assert looked_at() == {"lost": 1, "surplus": 0, "checked": "ids"}


def test_an_entry_added_by_hand_is_too_much(redis, settled, lane, looked_at):
    redis.xadd(lane.keys.stream, {"e": b"{}"})
    assert looked_at() == {"lost": 0, "surplus": 1, "checked": "ids"}


def test_a_double_count_hides_no_loss(redis, settled, lane, looked_at):
    redis.hincrby(lane.keys.counts, "delivered", 1)
    redis.xdel(lane.keys.stream, settled[-1].key)
    assert looked_at() == {"lost": 1, "surplus": 1, "checked": "ids"}


@pytest.mark.parametrize("place", ["parked", "dead"])
def test_a_command_that_was_exchanged_is_lost(redis, settled, lane, looked_at, place):
    [name] = redis.hkeys(getattr(lane.keys, place))
    redis.hdel(getattr(lane.keys, place), name)
    redis.hset(getattr(lane.keys, place), "another", b"{}")
    assert looked_at() == {"lost": 1, "surplus": 1, "checked": "ids"}


def test_the_rows_of_a_job_that_vanished_are_lost(redis, settled, lane, looked_at):
    redis.hdel(lane.keys.following, "J")
    assert looked_at() == {"lost": 2, "surplus": 0, "checked": "ids"}


def test_of_a_large_lane_only_an_audit_looks_at_the_ids(redis, settled, lane, report, monkeypatch):
    monkeypatch.setattr(status, "IDS_MOST", 4)
    redis.hincrby(lane.keys.counts, "delivered", 1)
    redis.xdel(lane.keys.stream, settled[-1].key)
    assert verdict(report()) == {"lost": 0, "surplus": 0, "checked": "counts"}
    assert verdict(report(audits=True)) == {"lost": 1, "surplus": 1, "checked": "ids"}


def test_an_audit_of_a_lane_that_never_rests_says_so(redis, settled, lane, report, monkeypatch):
    monkeypatch.setattr(status, "IDS_MOST", 0)
    look = Auditor._sum_of_all

    def look_while_it_changes(self, keys):
        redis.hincrby(keys.counts, "revision", 1)
        return look(self, keys)

    monkeypatch.setattr(Auditor, "_sum_of_all", look_while_it_changes)
    assert verdict(report(audits=True)) == {"lost": 0, "surplus": 0, "checked": "busy"}
