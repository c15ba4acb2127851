"""Circuit breakers: opened by outages, closed by answers, one probe at a time for all workers."""

from __future__ import annotations

import threading
import time

import pytest

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.breaker import OPENS_AT, PERSON, Breakers, family_of


@pytest.fixture
def breakers(redis, keys):
    return Breakers(redis, keys)


def look(breakers):
    return breakers.look("a", "events")[1]


def fail(breakers, times=1, wait=30.0):
    """So many outages, one after the other."""
    for _ in range(times):
        began = time.monotonic()
        # Sent after the last failure was noted, by a clock of milliseconds.
        breakers._redis.execute_command("PING")
        failures = breakers.failed("a", "events", began + 0.002, wait)
    return failures


def test_it_opens_at_the_third_failure_in_a_row(breakers):
    assert [fail(breakers) for _ in range(2)] == [1, 2]
    assert (look(breakers).word, look(breakers).wait_seconds) == ("closed", 0)
    assert fail(breakers) == OPENS_AT
    assert look(breakers).word == "open"
    assert 29 < look(breakers).wait_seconds <= 30


def test_an_answer_forgets_the_failures_before_it(breakers):
    fail(breakers, 2)
    breakers.succeeded("a", "events", time.monotonic())
    fail(breakers, 2)
    assert look(breakers).word == "closed"


def test_requests_that_were_under_way_together_are_one_failure(breakers):
    began = time.monotonic() - 1.0
    assert [breakers.failed("a", "events", began, 30.0) for _ in range(8)] == [1] * 8


def test_an_answer_to_what_was_sent_before_it_opened_does_not_close_it(breakers):
    fail(breakers, OPENS_AT)
    breakers.succeeded("a", "events", time.monotonic() - 1.0)
    assert look(breakers).word == "open"
    breakers.succeeded("a", "events", time.monotonic())
    assert look(breakers).word == "closed"


def test_it_is_half_open_when_its_time_has_come(breakers, until):
    fail(breakers, OPENS_AT, wait=0.05)
    until(lambda: look(breakers).word == "half-open")
    assert look(breakers).wait_seconds == 0
    assert look(breakers).needs_probe


def set_clock_back(breakers, keys, seconds=3_600):
    """As if Redis's clock showed so much less now: all that was noted lies so much later."""
    key = keys.breaker("a", "events")
    for field in ("failed", "until", "probe_until", "since"):
        breakers._redis.hincrby(key, field, seconds * 1000)


def test_a_clock_that_is_set_back_keeps_no_breaker_open(breakers, keys):
    fail(breakers, OPENS_AT)
    set_clock_back(breakers, keys)
    assert (look(breakers).word, look(breakers).wait_seconds) == ("half-open", 0)
    assert breakers.take_probe("a", "events") is not None
    breakers.succeeded("a", "events", time.monotonic())
    assert look(breakers).word == "closed"


def test_a_clock_that_is_set_back_lets_failures_count(breakers, keys):
    fail(breakers)
    set_clock_back(breakers, keys)
    assert [fail(breakers) for _ in range(2)] == [2, 3]


def test_a_clock_that_is_set_back_ends_no_persons_pause(breakers, keys):
    breakers.pause("a", "events", PERSON)
    set_clock_back(breakers, keys)
    assert look(breakers).wait_seconds > 0
    assert look(breakers).paused_seconds == 0
    assert breakers.take_probe("a", "events") is None
    breakers.resume("a", "events")
    assert look(breakers).paused_seconds == 0


def test_of_many_only_one_gets_the_probe(redis_url, keys, breakers, until):
    fail(breakers, OPENS_AT, wait=0.05)
    until(lambda: look(breakers).word == "half-open")
    probes = []

    def try_it():
        client = connect(redis_url)
        probes.append(Breakers(client, keys).take_probe("a", "events"))
        client.close()

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [probe] = [one for one in probes if one is not None]
    assert look(breakers).wait_seconds > 10, "the others wait for its answer"
    breakers.give_back(probe)
    assert breakers.take_probe("a", "events") is not None


def test_an_open_one_gives_no_probe(breakers):
    fail(breakers, OPENS_AT)
    assert breakers.take_probe("a", "events") is None


def test_a_failed_probe_opens_it_again_and_a_good_one_closes_it(breakers, until):
    fail(breakers, OPENS_AT, wait=0.02)
    until(lambda: look(breakers).word == "half-open")
    breakers.take_probe("a", "events")
    assert fail(breakers, wait=0.02) == OPENS_AT + 1
    assert look(breakers).probe_until == 0
    until(lambda: look(breakers).word == "half-open")
    breakers.take_probe("a", "events")
    breakers.succeeded("a", "events", time.monotonic())
    assert look(breakers).word == "closed"


def test_families_and_accounts_have_their_own(breakers):
    fail(breakers, OPENS_AT)
    assert breakers.look("a", "profiles")[1].word == "closed"
    assert breakers.look("b", "events")[1].word == "closed"
    assert family_of("events:bulk") == family_of("events")


def test_a_success_on_any_family_ends_the_pause_of_the_account(breakers, until):
    breakers.pause("a", "", "unauthorized", 0.02)
    whole = breakers.look("a", "events")[0]
    assert (whole.reason, whole.word) == ("unauthorized", "open")
    until(lambda: breakers.look("a", "events")[0].word == "half-open")
    breakers.succeeded("a", "profiles", time.monotonic())
    assert breakers.look("a", "events")[0].word == "closed"


def test_a_persons_pause_has_no_end_but_a_person_ends_it(breakers):
    breakers.pause("a", "", "person")
    assert breakers.look("a", "events")[0].wait_seconds > 1e9
    assert breakers.take_probe("a", "") is None
    breakers.resume("a", "")
    assert breakers.look("a", "events")[0].word == "closed"


def test_paused_time_adds_up(breakers, until):
    breakers.pause("a", "", "unauthorized", 60)
    until(lambda: breakers.look("a", "events")[0].paused_seconds > 0.05)
    breakers.pause("a", "", "unauthorized", 60)
    breakers.resume("a", "")
    first = breakers.look("a", "events")[0].paused_seconds
    assert first >= 0.05
    assert breakers.look("a", "events")[0].paused_seconds == first
    breakers.pause("a", "", "person")
    until(lambda: breakers.look("a", "events")[0].paused_seconds > first + 0.05)


def test_success_costs_a_write_a_second_at_most(breakers, redis):
    breakers.succeeded("a", "events", time.monotonic())
    before = redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    for _ in range(100):
        breakers.succeeded("a", "events", time.monotonic())
    after = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before <= 2


@pytest.mark.parametrize("family", ["", "events"])
def test_what_was_under_way_when_a_person_paused_ends_no_pause(breakers, family):
    breakers.pause("a", family, "person")
    for _ in range(OPENS_AT + 1):
        breakers.failed("a", "events", time.monotonic() + 0.1, 0.0)
    breakers.succeeded("a", "events", time.monotonic() + 0.1)
    breakers.pause("a", family, "unauthorized", 0.0)
    state = breakers.look("a", "events")[0 if family == "" else 1]
    assert (state.reason, state.wait_seconds > 1e9) == ("person", True)
    assert breakers.take_probe("a", family) is None
