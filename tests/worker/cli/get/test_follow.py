"""Following events: late ones, those of one second, those of the future; each once."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay_worker.cli.get.follow import Follower
from klaviyo_relay_worker.errors import RateLimitError, RefusedError, ServerError
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Event


class Timeline:
    """Events as Klaviyo has them, and a clock that runs only while the follower sleeps."""

    def __init__(self):
        self.now = datetime(2026, 2, 3, 12, 0, 0, 500_000, tzinfo=UTC)
        self.failures = []
        self.slept = []
        self.told = []
        self._events = []

    def add(self, identity, seconds_ago=0.0):
        at = (self.now - timedelta(seconds=seconds_ago)).replace(microsecond=0)
        self._events.append(Event(id=str(identity), datetime=at))

    def read(self, *, since, sort):
        if self.failures:
            raise self.failures.pop(0)
        found = [one for one in self._events if since is None or one.datetime >= since]
        found.sort(key=lambda one: (one.datetime, one.id), reverse=sort == "desc")
        documents = [found[at : at + 7] for at in range(0, len(found), 7)] or [[]]
        requests = (Request(endpoint="E", path=str(at)) for at in range(len(documents)))
        return Pages(lambda one: {"at": int(one.path)}, requests, lambda one: documents[one["at"]])

    def follow(self, *between, count=10):
        """The ids that are shown at each look; `between` is called from look to look."""
        looks = [[]]
        left = iter(between)

        def sleep(seconds):
            self.slept.append(seconds)
            self.now += timedelta(seconds=seconds)
            happens = next(left, None)
            if happens is None:
                raise KeyboardInterrupt
            happens()
            looks.append([])

        follower = Follower(
            self.read,
            window=timedelta(seconds=120),
            interval=5.0,
            tell=self.told.append,
            sleep=sleep,
            now=lambda: self.now,
        )
        with suppress(KeyboardInterrupt):
            for batch in follower.batches(count):
                looks[-1] += [one.id for one in batch]
        return looks


@pytest.fixture
def timeline():
    return Timeline()


def nothing():
    """Nothing happens."""


def test_the_newest_come_first_oldest_of_them_first(timeline):
    for number in range(30):
        timeline.add(number, seconds_ago=1_000 - number)
    assert timeline.follow(nothing, count=3) == [["27", "28", "29"], []]


def test_what_was_in_the_window_before_is_not_taken_for_new(timeline):
    for number in range(30):
        timeline.add(f"{number:02}", seconds_ago=60 - number)
    assert timeline.follow(nothing, nothing, count=2) == [["28", "29"], [], []]


def test_events_of_one_second_are_each_shown_once(timeline):
    timeline.add("a")
    looks = timeline.follow(
        lambda: timeline.add("c", seconds_ago=5),
        nothing,
        lambda: timeline.add("b", seconds_ago=15),
        nothing,
    )
    assert looks == [["a"], ["c"], [], ["b"], []]


def test_an_event_that_becomes_readable_late_is_shown(timeline):
    timeline.add("newest")
    looks = timeline.follow(
        lambda: timeline.add("late", seconds_ago=100),
        lambda: timeline.add("too late", seconds_ago=300),
        nothing,
    )
    assert looks == [["newest"], ["late"], [], []]


def test_an_event_of_next_year_hides_none_of_today(timeline):
    timeline.add("next year", seconds_ago=-31_536_000)
    looks = timeline.follow(lambda: timeline.add("today"), nothing)
    assert looks == [["next year"], ["today"], []]


def test_the_first_event_of_all_is_shown(timeline):
    assert timeline.follow(nothing, lambda: timeline.add("first")) == [[], [], ["first"]]


@pytest.mark.parametrize(
    "failure",
    [ServerError("503", 503), RedisUnavailableError("Redis is away")],
    ids=["Klaviyo", "Redis"],
)
def test_an_outage_is_told_once_and_outlived(timeline, failure):
    timeline.add("a")
    again = ServerError("again", 503)

    def fails():
        timeline.add("b")
        timeline.failures = [failure, failure, failure]

    def fails_anew():
        timeline.failures = [again]

    looks = timeline.follow(fails, nothing, nothing, nothing, fails_anew, nothing)
    assert looks == [["a"], [], [], [], ["b"], [], []]
    assert timeline.told == [failure, again]


def test_an_outage_at_the_beginning_is_outlived_too(timeline):
    timeline.add("a")
    timeline.failures = [ServerError("503", 503)]
    assert timeline.follow(nothing) == [[], ["a"]]


def test_a_used_up_rate_limit_is_waited_out(timeline):
    timeline.failures = [RateLimitError("429", retry_after=42.0)]
    timeline.follow(nothing)
    assert timeline.slept == [42.0, 5.0]


def test_a_refusal_ends_it(timeline):
    timeline.failures = [RefusedError("400", 400)]
    with pytest.raises(RefusedError):
        timeline.follow(nothing)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_within_the_window_is_shown_just_once(timeline, seed):
    chance = random.Random(seed)
    added = [f"{at:04}" for at in range(200)]
    left = list(added)

    def some():
        for _ in range(chance.randrange(12)):
            if left:
                timeline.add(left.pop(0), seconds_ago=chance.uniform(0, 110))
        if chance.random() < 0.2:
            timeline.failures = [ServerError("503", 503)]

    looks = timeline.follow(*[some] * 120, nothing, nothing)
    shown = [one for look in looks for one in look]
    assert not left
    assert sorted(shown) == added, f"seed {seed}"
