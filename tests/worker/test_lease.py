"""Leases: one holder, renewed by a heartbeat, passed on soon after a death."""

from __future__ import annotations

import threading
import time

import pytest

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import lease as module
from klaviyo_relay_worker.lease import Lease, Leases
from waiting import for_a_while

KEY = "kr:{default:events}:lease"


@pytest.fixture
def leases_of(redis_url):
    """Makes what a worker process has."""
    made = []

    def make(url=redis_url, **more):
        client = connect(url, **more)
        made.append((client, Leases(client)))
        return made[-1][1]

    yield make
    for client, leases in made:
        leases._held.clear()  # what a test holds to its end
        leases.close()
        client.close()


@pytest.fixture
def brief(monkeypatch):
    """Leases of 0.6 s, renewed each 0.1 s."""
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)


def test_one_holder_at_a_time(redis, leases_of):
    first = leases_of()
    held = first.take(KEY)
    assert held is not None
    assert leases_of().take(KEY) is None
    assert first.take(KEY) is None
    first.release(held)


def test_a_released_lease_is_free_at_once(redis, leases_of):
    leases = leases_of()
    held = leases.take(KEY)
    leases.release(held)
    again = leases_of().take(KEY)
    assert again is not None
    assert again.token != held.token


def test_the_heartbeat_keeps_it(redis, leases_of, brief):
    leases = leases_of()
    held = leases.take(KEY)
    for _ in for_a_while(1.5):
        assert held.remaining_seconds > 0
        assert redis.get(KEY) == held.token.encode()
    leases.release(held)


def test_it_expires_when_nobody_renews_it(redis, leases_of, brief, until):
    leases = leases_of()
    held = leases.take(KEY)
    leases._held.clear()  # as if the process stood still
    until(lambda: held.remaining_seconds == 0, 5)
    taken = until(lambda: leases_of().take(KEY), 5)
    assert taken.token != held.token


def test_it_is_never_thought_to_last_longer_than_it_does(redis, leases_of):
    leases = leases_of()
    held = leases.take(KEY)
    assert held.remaining_seconds <= redis.pttl(KEY) / 1000 + 0.01
    assert 8 < held.remaining_seconds <= module.LEASE_SECONDS
    leases.release(held)


def test_only_its_token_releases_it(redis, leases_of):
    leases = leases_of()
    held = leases.take(KEY)
    leases.release(Lease(KEY))
    assert redis.get(KEY) == held.token.encode()
    leases.release(held)
    assert redis.get(KEY) is None


def test_a_late_release_never_takes_the_next_holders(redis, leases_of):
    leases = leases_of()
    held = leases.take(KEY)
    redis.delete(KEY)
    following = leases_of().take(KEY)
    leases.release(held)
    assert redis.get(KEY) == following.token.encode()


def test_a_holder_learns_that_it_has_lost(redis, leases_of, brief, until):
    leases = leases_of()
    held = leases.take(KEY)
    redis.set(KEY, b"another's")
    until(lambda: held.remaining_seconds == 0, 5)
    assert redis.get(KEY) == b"another's"
    leases.release(held)


def test_a_redis_that_is_away_ends_it_in_time(own_redis, leases_of, brief, until):
    leases = leases_of(own_redis.url, answer_seconds=0.3)
    held = leases.take(KEY)
    own_redis.kill()
    until(lambda: held.remaining_seconds == 0, 5)
    leases.release(held)  # says nothing


def test_a_full_redis_still_gives_leases(own_redis, leases_of):
    # Else nothing would ever empty the lanes of a Redis that is filled (rule 11).
    with connect(own_redis.url) as client:
        client.config_set("maxmemory", 1)
    assert leases_of(own_redis.url).take(KEY) is not None


def test_a_killed_planners_lease_passes_on_within_ten_seconds(redis, leases_of):
    leases_of().take(KEY)
    assert redis.pttl(KEY) <= 10_000


# --- the end of the heartbeat ---------------------------------------------------------------------


def test_once_closed_nothing_uses_redis_any_more(leases_of, heartbeats):
    leases = leases_of()
    leases.release(leases.take(KEY))
    assert heartbeats()
    leases.close()
    assert not heartbeats()


def test_the_end_takes_no_lease_from_a_turn_that_goes_on(
    redis, leases_of, brief, until, heartbeats
):
    leases = leases_of()
    held = leases.take(KEY)
    leases.close()  # as long as a lease lasts
    redis.config_resetstat()
    for _ in for_a_while(1.5):
        assert held.remaining_seconds > 0
        assert redis.get(KEY) == held.token.encode()
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] <= 20, "renewed without a rest"
    leases.release(held)
    assert redis.get(KEY) is None
    until(lambda: not heartbeats(), 5)


def test_the_end_waits_for_the_last_turn(leases_of, until, heartbeats):
    leases = leases_of()
    held = leases.take(KEY)
    ending = threading.Thread(target=leases.close)
    ending.start()
    until(lambda: leases._is_closed)
    assert ending.is_alive()
    leases.release(held)
    ending.join(module.LEASE_SECONDS / 2)
    assert not ending.is_alive()
    assert not heartbeats()


def test_a_lease_that_is_owed_is_given_back_at_the_end(own_redis, leases_of, monkeypatch):
    monkeypatch.setattr(module, "RENEW_SECONDS", 600.0)
    leases = leases_of(own_redis.url)
    held = leases.take(KEY)
    own_redis.stop()
    leases.release(held)
    own_redis.start()
    with connect(own_redis.url) as client:
        assert client.get(KEY) == held.token.encode()
        leases.close()
        assert client.get(KEY) is None


def test_a_redis_that_is_away_holds_up_no_end(own_redis, leases_of, brief, until, heartbeats):
    leases = leases_of(own_redis.url)
    held = leases.take(KEY)
    own_redis.pause()
    until(lambda: leases.silent_seconds > 2 * module.RENEW_SECONDS)  # it waits for an answer
    began = time.monotonic()
    leases.close()
    assert time.monotonic() - began < 4, "it waits for one lease's time, not for Redis's answer"
    own_redis.kill()
    leases.release(held)
    until(lambda: not heartbeats(), 5)


def test_a_lease_taken_after_the_end_is_kept_and_ends_with_its_turn(
    redis, leases_of, brief, until, heartbeats
):
    leases = leases_of()
    leases.release(leases.take(KEY))
    leases.close()
    held = leases.take(KEY)
    for _ in for_a_while(1.0):
        assert redis.get(KEY) == held.token.encode()
    leases.release(held)
    until(lambda: not heartbeats(), 5)
