"""The checkup of the work: whether somebody delivers, and which lanes need a person."""

from __future__ import annotations

import pytest

from klaviyo_relay import Identify, Producer, Track
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.breaker import WHOLE_ACCOUNT, Breakers
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Dead, Failure, Following
from klaviyo_relay_worker.work_checkup import check_work
from settled_lanes import SettledLane

LANE = "lane default:events"


@pytest.fixture
def found(redis, keys):
    """Subject -> (level, text), each subject once."""

    def found():
        findings = list(check_work(redis, keys))
        by_subject = {one.subject: (one.level, one.text) for one in findings}
        assert len(by_subject) == len(findings)
        return by_subject

    return found


@pytest.fixture
def backlog(relay_settings):
    """Two commands wait in the lane."""
    tracks = [Track(metric="M", email="ada@lovelace.dev")] * 2
    Producer(relay_settings).enqueue_many(tracks, bulk=False, timeout=10)


def test_import_jobs_that_only_another_release_can_read_are_told_with_what_mends_it(
    found, redis, keys, relay_settings
):
    Producer(relay_settings).enqueue_many([Identify(email="a@x.io")] * 2, bulk=False, timeout=10)
    with SettledLane(redis, keys, "profiles") as settled:
        settled.settle(Following("JOB", 0))
    following = keys.lane("default", "profiles").following
    assert "lane default:profiles" not in found()
    redis.hset(following, "JOB", redis.hget(following, "JOB").replace(b"identify", b"merge"))
    level, text = found()["lane default:profiles"]
    assert level == "warning"
    assert text.startswith("1 import jobs cannot be read by this release")
    assert text.endswith("start a worker of the release that wrote them")


def test_no_worker_is_a_warning_as_long_as_nothing_waits(found):
    level, text = found()["worker"]
    assert level == "warning"
    assert text.endswith("0 commands wait; start one: klaviyo-relay worker")


@pytest.mark.usefixtures("backlog")
def test_no_worker_is_a_fault_where_commands_wait(found):
    level, text = found()["worker"]
    assert (level, "2 commands wait" in text) == ("fault", True)


@pytest.mark.usefixtures("backlog")
def test_workers_are_counted_by_their_doorbells(found, redis_url, keys, until):
    client = connect(redis_url)
    bell = Doorbell(client, keys, lambda *_: None)
    bell.start()
    try:
        until(lambda: found()["worker"][0] == "ok")
        assert found()["worker"][1] == "1 at work"
    finally:
        bell.stop()
        client.close()


@pytest.mark.usefixtures("backlog")
def test_a_lane_whose_backlog_grows_old_is_a_fault_unless_something_holds_it_up(found, redis, keys):
    stream = keys.lane("default", "events").stream
    assert LANE not in found()
    entries = redis.xrange(stream)
    long_ago = redis.time()[0] * 1000 - 130_000
    redis.delete(stream)
    for number, (_, fields) in enumerate(entries):
        redis.xadd(stream, fields, id=f"{long_ago}-{number}")
    level, text = found()[LANE]
    assert (level, "the oldest for 13" in text) == ("fault", True)
    redis.set(keys.lane("default", "events").lease, "a planner", px=60_000)
    assert LANE not in found()


@pytest.mark.usefixtures("backlog")
@pytest.mark.parametrize(
    ("reason", "mend"),
    [
        ("person", "is paused: person; klaviyo-relay resume default"),
        ("unauthorized", "mend the key of default or its scopes, then klaviyo-relay resume"),
    ],
)
def test_a_pause_is_a_warning_that_says_how_it_ends(found, redis, keys, reason, mend):
    if reason == "person":
        Lane(redis, keys, "default", "events").pause()
    else:
        Breakers(redis, keys).pause("default", WHOLE_ACCOUNT, reason, 60.0)
    level, text = found()[LANE]
    assert (level, mend in text) == ("warning", True)


@pytest.mark.usefixtures("backlog")
def test_dead_letters_are_a_warning_that_says_where_to_look(found, redis):
    with SettledLane(redis) as settled:
        settled.settle(Dead(Failure()))
    assert found()[LANE] == (
        "warning",
        "2 dead letters; see klaviyo-relay dead list --lane default:events",
    )


@pytest.mark.usefixtures("backlog")
def test_a_command_that_vanished_is_a_fault(found, redis, keys):
    redis.delete(keys.lane("default", "events").stream)
    level, text = found()[LANE]
    assert (level, text) == ("fault", "2 lost and 0 in surplus; please report it")


def test_where_redis_does_not_answer_there_is_nothing_to_say(keys):
    assert list(check_work(connect("redis://127.0.0.1:1/0"), keys)) == []
