"""Explain: each place of a command, its journal in order, and what is not found."""

from __future__ import annotations

import json
import re
import time
from hashlib import sha1
from pathlib import Path
from uuid import uuid4

import pytest

import klaviyo_relay_worker
from klaviyo_relay import Producer, Settings, Track
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.dead_letters import DeadLetters
from klaviyo_relay_worker.explain import RULES, Explainer, milliseconds_of
from klaviyo_relay_worker.explanation import InBacklog, InJob, InSpool, Letter, Waiting
from klaviyo_relay_worker.fingerprints import digest_of
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Failure, Following, Parked, Rule
from klaviyo_relay_worker.plan.batch import Exchange, Facts
from settled_lanes import SettledLane
from spool_files import EVENTS, closed_to_us, left_behind

FACTS = Facts(accepted=Exchange("POST /api/events", 202), refused=Exchange("POST /api/x", 400))
WHY = Failure(status=400, code="invalid", title="Bad", detail="is wrong", pointer="/data")


class Desk:
    """A lane with a lease, and an explainer."""

    def __init__(self, redis, keys, settings):
        self.redis, self.keys, self.settings = redis, keys, settings
        self.settled = SettledLane(redis, keys)
        self.lane = self.settled.lane
        self._numbers = iter(range(1, 100))
        self._entrance = LaneEntrance(redis, keys, 10**9)

    def ship(self, *identities):
        for identity in identities:
            track = Track(metric="M", email="ada@lovelace.dev")
            at = time.time_ns() // 1_000_000
            message = encode(Envelope(id=identity, account="default", at=at, command=track))
            self._entrance.ship("default:events", "test", [(next(self._numbers), message)])

    def settle(self, outcome, *identities):
        there = [*self.settled.read(), *self.settled.parked()]
        entries = [one for one in there if one.envelope.id in identities]
        assert len(entries) == len(identities)
        self.settled.settle(outcome, entries, facts=FACTS)

    def explain(self, identity, **more):
        return Explainer(self.redis, self.settings, **more).explain(identity)


@pytest.fixture
def desk(redis, keys, relay_settings):
    return Desk(redis, keys, relay_settings)


@pytest.fixture(params=[new_id, lambda: str(uuid4()), lambda: 'a "task"'], ids=["v7", "v4", "text"])
def identity(request):
    return request.param()


def test_a_command_in_the_backlog_is_shown_with_what_is_before_it(desk, identity):
    desk.ship(new_id(), new_id(), identity, new_id())
    [place] = desk.explain(identity).places
    assert isinstance(place, InBacklog)
    assert (place.lane, place.verb, place.before) == ("default:events", "track", 2)
    assert abs(place.since.timestamp() - time.time()) < 60
    assert place.payload is None
    assert "lovelace" not in repr(place)


def test_a_command_is_found_behind_more_than_a_page(desk):
    desk.ship(new_id())
    [(_, fields)] = desk.redis.xrange(desk.lane.keys.stream)
    pipeline = desk.redis.pipeline()
    for _ in range(2_100):
        pipeline.xadd(desk.lane.keys.stream, fields)
    pipeline.execute()
    identity = str(uuid4())
    desk.ship(identity)
    [place] = desk.explain(identity).places
    assert place.before == 2_101


def test_a_command_of_a_producer_whose_clock_is_a_day_ahead_is_found(desk):
    later = time.time_ns() // 1_000_000 + 86_400_000
    identity = f"{later >> 16:08x}-{later & 0xFFFF:04x}-7000-8000-000000000001"
    desk.ship(identity)
    desk.settle(Delivered(), identity)
    desk.ship(identity)
    found = desk.explain(identity)
    assert [place.before for place in found.places] == [0]
    assert [record.what for record in found.journal] == ["delivered"]


def test_a_parked_command_is_shown_with_its_reason_and_time(desk, identity):
    desk.ship(identity)
    desk.settle(Parked(3e9, "server_error", WHY), identity)
    [place] = desk.explain(identity).places
    assert isinstance(place, Waiting)
    assert (place.until.timestamp(), place.reason, place.attempts) == (3e9, "server_error", 1)


def test_a_followed_command_is_shown_with_its_job_and_row(desk, identity):
    desk.ship(new_id(), identity)
    desk.settle(Following("J", 3), identity)
    [place] = desk.explain(identity).places
    assert isinstance(place, InJob)
    assert (place.job, place.row) == ("J", 3)
    assert place.until >= place.since


def test_a_dead_letter_has_klaviyos_words_and_its_payload_for_whoever_asks(desk, identity):
    desk.ship(identity)
    desk.settle(Dead(WHY), identity)
    [place] = desk.explain(identity).places
    assert isinstance(place, Letter)
    assert (place.failure, place.attempts, place.payload) == (WHY, 1, None)
    [place] = desk.explain(identity, with_payload=True).places
    assert json.loads(bytes(place.payload))["command"]["email"] == "ada@lovelace.dev"


def test_what_only_another_release_can_read_is_shown_as_far_as_it_goes(desk, identity, redis):
    other = new_id()
    desk.ship(identity, other)
    desk.settle(Parked(3e9, "server_error", WHY), identity)
    desk.settle(Following("J", 0), other)
    for key, name in ((desk.lane.keys.parked, identity), (desk.lane.keys.following, "J")):
        redis.hset(key, name, redis.hget(key, name).replace(b'"verb":"', b'"verb":"newer_'))
    [parked] = desk.explain(identity).places
    assert isinstance(parked, Waiting)
    assert (parked.verb, parked.reason, parked.attempts) == ("?", "server_error", 1)
    [row] = desk.explain(other).places
    assert isinstance(row, InJob)
    assert (row.verb, row.job, row.row) == ("?", "J", None)
    assert row.since.year >= 2026


def test_what_could_not_be_read_is_found_by_its_first_name(desk):
    desk._entrance.ship("default:events", "test", [(1, b'{"id":"broken","at":')])
    _, broken, _ = desk.lane.read("0-0", 10)
    [place] = desk.explain("broken").places
    assert place.verb == "?"
    desk.lane.bury_unreadable(desk.settled.lease, broken, time.time())
    [place] = desk.explain("broken").places
    assert place.id == f"unreadable-{broken[0][0]}"


def test_the_journal_tells_everything_in_order(desk, identity, redis, keys):
    other = new_id()
    desk.ship(identity, other)
    desk.settle(Parked(3e9, "early"), identity)
    desk.settle(Dead(WHY), identity)
    letters = DeadLetters(redis, keys)
    letters.redrive(list(letters.all(["default:events"])))
    desk.settle(Delivered(), identity, other)
    found = desk.explain(identity)
    assert found.places == []
    whats = [record.what for record in found.journal]
    assert whats == ["parked", "dead", "redriven", "delivered"]
    last = found.journal[-1]
    assert (last.note.endpoint, last.note.status, last.others) == ("POST /api/events", 202, 1)
    assert [record.what for record in desk.explain(other).journal] == ["delivered"]


def test_a_rule_comes_with_its_meaning(desk, identity):
    desk.ship(identity)
    desk.settle(Dropped("superseded"), identity)
    [record] = desk.explain(identity).journal
    assert (record.note.rule, record.meaning) == ("superseded", RULES["superseded"])


def test_digests_count_only_where_they_begin(desk):
    identity = str(uuid4())
    digest = digest_of(identity.encode())
    journal = desk.lane.keys.journal
    desk.ship(new_id())
    across = "0" * 8 + digest + "0" * 8
    desk.redis.xadd(journal, {"w": "delivered", "n": "{}", "i": across})
    assert desk.explain(identity).journal == []
    desk.redis.xadd(journal, {"w": "delivered", "n": "{}", "i": across + digest})
    assert [record.others for record in desk.explain(identity).journal] == [2]
    desk.redis.hset(desk.lane.keys.rows, "J", across)
    assert not desk.explain(identity).places


def test_what_is_not_found_says_where_it_was_looked_for(desk, identity):
    desk.ship(new_id())
    found = desk.explain(identity)
    assert (found.is_known, found.lanes, found.redis) == (False, {"default:events": None}, "")
    other = new_id()
    desk.ship(other)
    desk.settle(Delivered(), other)
    since = desk.explain(identity).lanes["default:events"]
    assert abs(since.timestamp() - time.time()) < 60


def test_a_command_in_the_spool_is_found_without_redis_and_with_it(desk, tmp_path):
    settings = Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "spool")
    producer = Producer(settings)
    producer.track("M", email="a@shop.io")
    identity = producer.track("M", email="ada@lovelace.dev")
    away = Explainer(connect(settings.redis_url), settings).explain(identity)
    [place] = away.places
    assert isinstance(place, InSpool)
    assert (place.row, place.is_shipped, place.is_orphaned) == (2, None, False)
    assert away.redis
    assert away.spool_files == 1
    producer.close(0)
    # The same file, as a Redis sees it that has the first row, and then both.
    source = place.file.removesuffix(".spool").rpartition("-")[2]
    for mark, is_shipped in ((1, False), (2, True)):
        desk.redis.hset(desk.lane.keys.marks, source, f"{mark}@0")
        [place] = Explainer(desk.redis, settings).explain(identity).places
        assert (place.is_shipped, place.is_orphaned) == (is_shipped, True)


def test_files_that_may_not_be_opened_are_counted_where_nothing_is_found(desk, tmp_path):
    settings = Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "spool")
    closed_to_us(left_behind(settings, EVENTS))
    left_behind(settings, EVENTS)
    found = Explainer(desk.redis, settings).explain(new_id())
    assert (found.spool_files, found.unreadable_files) == (1, 1)


def test_every_rule_that_drops_has_a_meaning():
    package = Path(klaviyo_relay_worker.__file__).parent
    scripts = "\n".join(path.read_text() for path in package.rglob("*.lua"))
    assert set(re.findall(r'\{"rule":"(\w+)"\}', scripts)) <= set(Rule)
    assert set(RULES) == set(Rule)


def test_an_id_tells_its_time():
    assert abs(milliseconds_of(new_id()) / 1000 - time.time()) < 60
    assert milliseconds_of(str(uuid4())) is None
    assert milliseconds_of(sha1(b"", usedforsecurity=False).hexdigest()) is None
