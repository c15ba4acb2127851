"""The journal: one record an operation, with digests and plain facts, as large as it may be."""

from __future__ import annotations

import json

import pytest

from klaviyo_relay import Producer, Track
from klaviyo_relay_worker.dead_letters import DeadLetters
from klaviyo_relay_worker.fingerprints import digest_of, split_digests
from klaviyo_relay_worker.journal import JOURNAL_BYTES, JournalRoom
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Failure, Parked
from klaviyo_relay_worker.plan.batch import Exchange, Facts
from settled_lanes import SettledLane

FACTS = Facts(accepted=Exchange("POST /api/events", 202), refused=Exchange("POST /api/x", 400))
WHY = Failure(status=400, code="invalid", detail="ada@lovelace.dev is wrong")


class Desk:
    """A lane with a lease and a journal."""

    def __init__(self, redis, keys, relay_settings, **more):
        self.redis = redis
        self._settled = SettledLane(redis, keys, **more)
        self.lane = self._settled.lane
        self._settings = relay_settings

    def ship(self, number):
        commands = [Track(metric="M", email="ada@lovelace.dev")] * number
        Producer(self._settings).enqueue_many(commands, bulk=False)
        return self._settled.read()

    def settle(self, entries, outcome):
        self._settled.settle(outcome, entries, facts=FACTS)

    def records(self):
        found = self.redis.xrange(self.lane.keys.journal)
        return [
            (f[b"w"].decode(), json.loads(f[b"n"]), split_digests(f[b"i"].decode()))
            for _, f in found
        ]


@pytest.fixture
def desk(redis, keys, relay_settings):
    return Desk(redis, keys, relay_settings)


def digests(entries):
    return [digest_of(entry.envelope.id.encode()) for entry in entries]


@pytest.mark.parametrize(
    ("outcome", "what", "note"),
    [
        (Delivered(), "delivered", {"endpoint": "POST /api/events", "status": 202}),
        (Dropped("superseded"), "dropped", {"rule": "superseded"}),
        (Dead(WHY), "dead",
         {"endpoint": "POST /api/x", "status": 400, "code": "invalid", "attempts": 1}),
        (Parked(1e9, "early"), "parked", {"reason": "early"}),
    ],
    ids=["delivered", "dropped", "dead", "parked"],
)  # fmt: skip
def test_commands_that_end_alike_are_one_record(desk, outcome, what, note):
    entries = desk.ship(3)
    for _ in range(2):  # as after a lost answer
        desk.settle(entries, outcome)
    assert desk.records() == [(what, note, digests(entries))]


def test_redriving_and_discarding_are_written_down(desk, redis, keys):
    entries = desk.ship(2)
    desk.settle(entries, Dead(WHY))
    letters = DeadLetters(redis, keys)
    first, second = sorted(letters.all(["default:events"]), key=lambda one: one.id)
    letters.redrive([first])
    letters.discard([second])
    assert [(what, ids) for what, _, ids in desk.records()[1:]] == [
        ("redriven", [digest_of(first.id.encode())]),
        ("discarded", [digest_of(second.id.encode())]),
    ]


def test_nothing_private_is_in_the_journal(desk, redis):
    desk.settle(desk.ship(2), Dead(WHY))
    assert "lovelace" not in str(redis.xrange(desk.lane.keys.journal))


def test_the_oldest_records_go_first(redis, keys, relay_settings):
    desk = Desk(redis, keys, relay_settings, journal_bytes=500)
    entries = desk.ship(20)
    for entry in entries:
        desk.settle([entry], Delivered())
    kept = [ids[0] for _, _, ids in desk.records()]
    assert 0 < len(kept) < 20
    assert kept == digests(entries)[-len(kept) :]
    assert int(redis.hget(desk.lane.keys.counts, "journal")) <= 500


def test_a_journal_of_nothing_is_none(redis, keys, relay_settings):
    desk = Desk(redis, keys, relay_settings, journal_bytes=0)
    desk.settle(desk.ship(2), Delivered())
    assert not redis.exists(desk.lane.keys.journal)


def test_a_small_redis_has_small_journals(redis):
    assert JournalRoom(redis, 1_000_000).bytes() == JOURNAL_BYTES
    redis.config_set("maxmemory", "100mb")
    try:
        assert JournalRoom(redis, 1_000_000).bytes() == 1_048_576
        assert JournalRoom(redis, 100).bytes() == 2_000
        assert JournalRoom(redis, 0).bytes() == 0
    finally:
        redis.config_set("maxmemory", "0")
