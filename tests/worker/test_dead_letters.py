"""Dead letters: shown in full, redriven as new, discarded for good, each counted once."""

from __future__ import annotations

import os
import signal
import threading

import msgspec
import pytest
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay import Identify, Producer, Settings, Track
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.keys import split
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker import dead_letters as module
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Dead, Failure
from klaviyo_relay_worker.status import Status
from settled_lanes import SettledLane

NAME = "default:events"
WHY = Failure(status=400, code="invalid", title="Invalid", detail="is wrong", pointer="/data/0")
COMMAND = Track(metric="Placed Order", email="ada@lovelace.dev", properties={"deep": {"é": [1]}})


@pytest.fixture
def letters(redis, keys):
    return DeadLetters(redis, keys)


@pytest.fixture
def lane(redis, keys):
    return Lane(redis, keys, "default", "events")


@pytest.fixture
def dead(redis, keys, relay_settings, letters):
    """Three dead letters."""
    Producer(relay_settings).enqueue_many([COMMAND] * 3, bulk=False)
    SettledLane(redis, keys).settle(Dead(WHY), at=1234.5)
    return sorted(letters.all([NAME]), key=lambda one: one.id)


def numbers(redis, keys):
    found = Status(redis, keys).report()["accounts"]["default"]["lanes"]["events"]
    names = ("accepted", "backlog", "dead", "discarded", "lost")
    return {name: found[name] for name in names if found[name]}


def test_a_letter_says_who_why_and_when(dead):
    letter = dead[0]
    assert (letter.lane, letter.verb, letter.failure) == (NAME, "track", WHY)
    assert (letter.dead_at, letter.attempts) == (1234.5, 1)
    assert letter.envelope.command.metric == "Placed Order"
    assert msgspec.json.decode(letter.envelope.command.properties) == {"deep": {"é": [1]}}


def test_one_is_found_by_its_id(letters, dead):
    assert letters.find(["default:profiles", NAME], dead[1].id) == dead[1]
    assert letters.find([NAME], "nobody") is None


def test_a_redriven_letter_stands_in_its_lane_as_it_was(letters, dead, lane, redis, keys):
    with redis.pubsub() as listening:
        listening.subscribe(keys.doorbell)
        listening.get_message(timeout=5)
        assert letters.redrive(dead[:1]) == 1
        assert listening.get_message(timeout=5)["data"] == NAME.encode()
    [entry], _, _ = lane.read("0-0", 10)
    assert entry.envelope == dead[0].envelope
    assert entry.attempts == 0
    assert numbers(redis, keys) == {"accepted": 3, "backlog": 1, "dead": 2}
    assert int(redis.hget(lane.keys.counts, "bytes")) == entry.size


def test_what_was_redriven_or_discarded_is_moved_once(letters, dead, redis, keys):
    assert [letters.redrive(dead[:2]), letters.redrive(dead[:2])] == [2, 0]
    assert [letters.discard(dead), letters.discard(dead)] == [1, 0]
    assert numbers(redis, keys) == {"accepted": 3, "backlog": 2, "discarded": 1}


def test_an_unreadable_letter_is_kept_by_a_redrive_and_can_be_discarded(letters, redis, keys):
    LaneEntrance(redis, keys, 10**9).register(NAME)
    stored = module.unreadable(NAME, "unreadable-1-0", b"\xff{", "why", now=1.0)
    redis.hset(keys.lane("default", "events").dead, "unreadable-1-0", stored)
    [letter] = letters.all([NAME])
    assert (letter.verb, letter.envelope, letter.failure.detail) == ("?", None, "why")
    assert letters.redrive([letter]) == 0
    assert letters.discard([letter]) == 1
    assert list(letters.all([NAME])) == []


@pytest.mark.parametrize("how", ["pages", "find", "read"])
def test_a_letter_of_a_newer_release_is_read_as_far_as_it_can_be(letters, dead, lane, redis, how):
    identity, key = dead[1].id, lane.keys.dead
    stored = redis.hget(key, identity).replace(
        b'"verb":"track","metric"', b'"verb":"merge","metric"'
    )
    redis.hset(key, identity, stored)
    found = {
        "pages": lambda: next(one for one in letters.all([NAME]) if one.id == identity),
        "find": lambda: letters.find([NAME], identity),
        "read": lambda: next(letters.read(NAME, [identity]))[0],
    }[how]()
    assert (found.failure, found.dead_at, found.lane) == (dead[1].failure, dead[1].dead_at, NAME)
    assert (found.envelope, found.sendable) == (None, None)
    assert msgspec.json.decode(found.message)["command"]["verb"] == "merge"
    assert letters.redrive([found]) == 0
    assert redis.hget(key, identity) == stored


DEEP = b'{"envelope":' + b"[" * 200_000


def test_a_letter_of_a_newer_schema_version_stays_though_its_members_are_known(
    letters, dead, lane, redis
):
    identity, key = dead[1].id, lane.keys.dead
    stored = redis.hget(key, identity).replace(b'"v":1', b'"v":99')
    redis.hset(key, identity, stored)
    assert letters.redrive(letters.all([NAME])) == len(dead) - 1
    assert redis.hget(key, identity) == stored


@pytest.mark.parametrize("stored", [b"[]", b"\xff{", b'{"verb":1}', DEEP])
def test_what_is_no_letter_at_all_can_be_listed_and_discarded(letters, redis, keys, stored):
    LaneEntrance(redis, keys, 10**9).register(NAME)
    redis.hset(keys.lane("default", "events").dead, "x", stored)
    [found] = letters.all([NAME])
    assert (found.id, found.failure.code, found.sendable) == ("x", "unreadable_letter", None)
    assert letters.discard([found]) == 1


def test_a_message_that_an_older_release_could_not_read_is_redriven_by_one_that_can(
    letters, lane, redis, keys
):
    envelope = Envelope(id=new_id(), account="default", at=1, command=COMMAND)
    LaneEntrance(redis, keys, 10**9).ship(NAME, "test", [(1, encode(envelope))])
    [entry], _, _ = lane.read("0-0", 10)
    with SettledLane(redis, keys) as held:
        lane.bury_unreadable(held.lease, [(entry.key, encode(envelope), "why")], 7.0)
    [letter] = letters.all([NAME])
    assert letter.id == f"unreadable-{entry.key}"
    assert letters.redrive([letter]) == 1
    [again], _, _ = lane.read("0-0", 10)
    assert again.envelope.id == envelope.id
    assert numbers(redis, keys) == {"accepted": 1, "backlog": 1}


def test_an_invalid_one_of_the_celery_door_is_accepted_as_dead_once(letters, redis, keys):
    entrance = LaneEntrance(redis, keys, 10**9)
    letter = module.invalid(
        NAME, "task-1", "track", '{"metric":1}', "metric: must be a string", now=1.0
    )
    for _ in range(2):
        entrance.bury(NAME, script_of("klaviyo_relay_worker", "bury"), "task-1", letter)
    assert numbers(redis, keys) == {"accepted": 1, "dead": 1}
    [found] = letters.all([NAME])
    assert (found.verb, found.message, found.failure.code) == ("track", '{"metric":1}', "invalid")


def test_a_letter_survives_writing_and_reading(dead):
    again = msgspec.json.decode(msgspec.json.encode(dead[0]), type=DeadLetter)
    assert again == dead[0]


def test_nothing_private_is_in_a_repr(dead):
    assert "lovelace" not in repr(dead[0])


def fill(redis, keys, number, size):
    """Dead letters that the lane has accepted, each of about so many bytes."""
    LaneEntrance(redis, keys, 10**12).register(NAME)
    names = keys.lane("default", "events")
    for at in range(number):
        identity = f"letter-{at}"
        redis.hset(
            names.dead,
            identity,
            module.invalid(NAME, identity, "track", "x" * size, "why", now=1.0),
        )
    redis.hset(names.counts, "accepted", number)


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_page_holds_no_more_than_memory_should(letters, redis, keys, size):
    number = 900 if size < 1_000 else 60
    fill(redis, keys, number, size)
    pages = list(letters.pages([NAME]))
    assert sorted({one.id for page in pages for one in page}) == sorted(
        f"letter-{at}" for at in range(number)
    )
    assert max(len(page) for page in pages) * size < 2 * module.PAGE_BYTES
    assert len(pages) < number / 5


def test_a_page_is_discarded_in_one_step(letters, redis, keys):
    fill(redis, keys, 300, 10)
    before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    for page in letters.pages([NAME]):
        letters.discard(page)
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before < 30
    assert redis.hlen(keys.lane("default", "events").dead) == 0
    assert numbers(redis, keys)["discarded"] == 300


def bury(redis, settings, *commands):
    """Commands of one lane die as a planner makes them die, and are returned."""
    Producer(settings).enqueue_many(commands, bulk=False, timeout=10)
    with SettledLane(redis, settings.keys, commands[0].lane) as settled:
        while settled.settle(Dead(WHY), settled.read(1_000), at=1234.5):
            pass
    return list(DeadLetters(redis, settings.keys).all([f"default:{commands[0].lane}"]))


def scripts_run(redis):
    return redis.info("commandstats")["cmdstat_evalsha"]["calls"]


def test_letters_of_several_lanes_are_redriven_some_hundred_a_step(letters, redis, relay_settings):
    tracked = bury(redis, relay_settings, *[COMMAND] * 700)
    identified = bury(redis, relay_settings, *[Identify(external_id="bob", title="Mr")] * 700)
    before = scripts_run(redis)
    assert letters.redrive([one for pair in zip(tracked, identified, strict=True) for one in pair])
    assert scripts_run(redis) - before == 4
    for lane, dead in ("events", tracked), ("profiles", identified):
        entries, _, _ = Lane(redis, relay_settings.keys, "default", lane).read("0-0", 700)
        assert [one.envelope for one in entries] == [one.envelope for one in dead]


def test_one_that_is_gone_from_amid_the_letters_stays_gone(letters, dead, redis, keys):
    assert letters.discard(dead[1:2]) == 1
    assert letters.redrive([*dead, dead[0]]) == 2
    assert numbers(redis, keys) == {"accepted": 3, "backlog": 2, "discarded": 1}
    assert Status(redis, keys).report()["lost"] == 0


def test_large_letters_go_fewer_a_step(letters, redis, relay_settings):
    large = Track(metric="M", email="ada@lovelace.dev", properties={"x": "x" * 90_000})
    dead = bury(redis, relay_settings, *[large] * 100)
    before = scripts_run(redis)
    assert letters.redrive(dead) == 100
    assert scripts_run(redis) - before == 3


def test_letters_are_read_by_id_in_order_without_those_that_are_gone(letters, dead):
    one, two, three = (letter.id for letter in dead)
    assert letters.discard(dead[1:2]) == 1
    wanted = [three, two, "nobody", one, three]
    assert letters.lanes_of(["default:profiles", NAME], wanted) == {NAME: [three, one]}
    [page] = letters.read(NAME, [three, two, one])
    assert [found.id for found in page] == [three, one]


def test_a_redis_that_is_killed_amid_a_redrive_has_each_letter_once(tmp_path):
    with PrivateRedis(tmp_path / "redis") as server:
        settings = Settings(redis_url=server.url, spool_dir=tmp_path / "spool")
        redis = connect(server.url)
        dead = bury(redis, settings, *[COMMAND] * 20_000)

        class Killing(Redis):
            """Has its server killed 2 ms after its tenth command, with thirty still to come."""

            commands = 0

            def execute_command(self, *args, **options):
                self.commands += 1
                if self.commands == 10:
                    threading.Timer(0.002, os.kill, [server.pid, signal.SIGKILL]).start()
                return super().execute_command(*args, **options)

        with pytest.raises(RedisError):
            DeadLetters(Killing.from_url(server.url), settings.keys).redrive(dead)
        server.kill()
        server.start()
        stream = settings.keys.lane(*split(NAME)).stream
        back = {fields[b"e"][7:43].decode() for _, fields in redis.xrange(stream)}
        still = {one.id for one in DeadLetters(redis, settings.keys).all([NAME])}
        assert back
        assert still
        assert sorted([*back, *still]) == sorted(one.id for one in dead)
        found = numbers(redis, settings.keys)
        assert found == {"accepted": 20_000, "backlog": len(back), "dead": len(still)}
        assert DeadLetters(redis, settings.keys).redrive(dead) == len(still)
