"""Housekeeping, on a real server."""

from klaviyo_relay.keys import Keys
from klaviyo_relay.sources import DAY_SECONDS
from klaviyo_relay_worker.housekeeping import prune_joins, prune_marks

LANE = "default:events"
MARKS = Keys().lane("default", "events").marks


def test_marks_of_sources_that_are_long_silent_are_forgotten(redis):
    now = redis.time()[0]
    ages = {"4f3a": 1, "old": 31, "task-new": 1, "task-old": 3, "load-kept": 29}
    for source, days in ages.items():
        redis.hset(MARKS, source, f"7@{int(now - days * DAY_SECONDS)}")

    assert prune_marks(redis, Keys(), [LANE]) == 2
    assert sorted(redis.hkeys(MARKS)) == [b"4f3a", b"load-kept", b"task-new"]


def test_a_lane_without_marks_is_left_alone(redis):
    assert prune_marks(redis, Keys(), [LANE, "other:profiles"]) == 0


def test_joins_that_nobody_waits_for_are_forgotten(redis):
    now = redis.time()[0]
    key = Keys().joins("default")
    redis.hset(key, "new", int((now - DAY_SECONDS) * 1000))
    redis.hset(key, "old", int((now - 3 * DAY_SECONDS) * 1000))
    assert prune_joins(redis, Keys(), [LANE, "default:consent", "other:consent"]) == 1
    assert redis.hkeys(key) == [b"new"]
