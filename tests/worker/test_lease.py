"""Leases: one holder, renewed by a heartbeat, passed on soon after a death."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import lease as module
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.lease import Lease, Leases

KEY = "kr:{default:events}:lease"


@pytest.fixture
def leases_of(redis_url):
    """Makes what a worker process has; its connection stays open, as the heartbeat may be at it."""
    made = []

    def make():
        made.append(Leases(connect(redis_url)))
        return made[-1]

    yield make
    for leases in made:
        leases._held.clear()


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


def test_the_heartbeat_keeps_it(redis, leases_of, brief, until):
    leases = leases_of()
    held = leases.take(KEY)
    end = time.monotonic() + 1.5

    def is_over():
        assert held.remaining_seconds > 0
        assert redis.get(KEY) == held.token.encode()
        return time.monotonic() > end

    until(is_over)
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


def test_a_redis_that_is_away_ends_it_in_time(brief, until):
    with PrivateRedis() as server:
        client = connect(server.url, answer_seconds=0.3)
        leases = Leases(client)
        held = leases.take(KEY)
        server.kill()
        until(lambda: held.remaining_seconds == 0, 5)
        leases.release(held)  # says nothing
        leases._held.clear()


def test_a_full_redis_still_gives_leases():
    # Else nothing would ever empty the lanes of a Redis that is filled (rule 11).
    with PrivateRedis() as server:
        client = connect(server.url)
        client.config_set("maxmemory", 1)
        leases = Leases(client)
        held = leases.take(KEY)
        leases._held.clear()
        assert held is not None


def test_a_killed_planners_lease_passes_on_within_ten_seconds(redis, leases_of):
    leases_of().take(KEY)
    assert redis.pttl(KEY) <= 10_000
