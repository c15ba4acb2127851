"""Quota: never more than Klaviyo allows in any window, however many ask at the same time."""

from __future__ import annotations

import threading
import time

import pytest

from klaviyo_relay.lane_entrance import connect
from klaviyo_relay_worker.klaviyo.limits import RateLimit
from klaviyo_relay_worker.quota import Quota

ENDPOINT = "POST /api/x"


def quota_of(redis, keys, second, minute, day=0):
    return Quota(redis, keys, {ENDPOINT: RateLimit(second, minute, day)})


def reserve(quota, account="default", **more):
    return quota.reserve(account, ENDPOINT, **more)


def most_in_any_window(times, seconds):
    return max(sum(at <= one < at + seconds for one in times) for at in times)


def test_two_clients_in_parallel_never_exceed_a_window(redis_url, keys):
    granted: list[float] = []
    end = time.monotonic() + 2.5

    def work():
        client = connect(redis_url)
        quota = quota_of(client, keys, 5, 1_000)
        while time.monotonic() < end:
            wait = reserve(quota)
            if wait == 0:
                seconds, micros = client.time()
                granted.append(seconds + micros / 1e6)
            else:
                time.sleep(min(wait, 0.02))
        client.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The time is read after the grant, so a margin of the way to Redis is taken off the window.
    assert most_in_any_window(granted, 1.0) <= 5
    assert len(granted) >= 10, "the limit must be used, too"


def test_the_minute_limits_as_the_second_does(redis, keys):
    quota = quota_of(redis, keys, 100, 7)
    assert [reserve(quota) for _ in range(7)] == [0] * 7
    wait = reserve(quota)
    assert 59 < wait <= 61


def test_a_minute_later_there_is_room_again(redis, keys):
    quota = quota_of(redis, keys, 100, 3)
    for _ in range(3):
        reserve(quota)
    key = keys.quota("default", ENDPOINT)
    for at, stored in enumerate(redis.lrange(key, 0, -1)):
        redis.lset(key, at, int(stored) - 60_301)
    assert reserve(quota) == 0


def test_a_refusal_reserves_nothing(redis, keys):
    quota = quota_of(redis, keys, 2, 100)
    for _ in range(20):
        reserve(quota)
    assert redis.llen(keys.quota("default", ENDPOINT)) == 2


def test_the_wait_is_until_there_is_room(redis, keys, until):
    quota = quota_of(redis, keys, 1, 100)
    reserve(quota)
    began = time.monotonic()
    wait = reserve(quota)
    assert 0 < wait <= 1.06
    until(lambda: reserve(quota) == 0, 5)
    assert time.monotonic() - began >= wait - 0.05


def test_the_day_limits_too(redis, keys):
    quota = quota_of(redis, keys, 100, 100, day=2)
    assert reserve(quota) == reserve(quota) == 0
    assert reserve(quota) > 86_000
    assert redis.ttl(keys.quota("default", ENDPOINT)) > 86_000


def test_a_block_holds_everybody_off(redis, redis_url, keys, until):
    other_client = connect(redis_url)
    quota, other = quota_of(redis, keys, 9, 99), quota_of(other_client, keys, 9, 99)
    quota.block("default", ENDPOINT, 0.3)
    assert 0 < reserve(other) <= 0.3
    assert other.reserve("another", ENDPOINT) == 0
    until(lambda: reserve(other) == 0, 5)
    other_client.close()


def test_accounts_and_endpoints_are_counted_apart(redis, keys):
    limits = {ENDPOINT: RateLimit(1, 1), "GET /api/y": RateLimit(1, 1)}
    quota = Quota(redis, keys, limits)
    assert reserve(quota) == reserve(quota, "another") == 0
    assert quota.reserve("default", "GET /api/y") == 0
    assert reserve(quota) > 0


def test_the_bulk_lane_leaves_room_for_the_live_one(redis, keys):
    quota = quota_of(redis, keys, 100, 1_000)
    granted = 0
    while reserve(quota, is_bulk_lane=True) == 0:
        granted += 1
    assert 90 <= granted < 100
    assert reserve(quota) == 0
    assert reserve(quota, is_bulk_lane=True) > 0


def test_the_bulk_lane_never_lets_the_live_one_forget(redis, keys):
    # Both lanes keep one list of times; the bulk lane's shorter view must not cut the other's.
    quota = quota_of(redis, keys, 50, 50)
    granted = sum(reserve(quota, is_bulk_lane=at % 2 == 0) == 0 for at in range(400))
    assert granted == 50


@pytest.mark.parametrize("limit", [1, 3], ids=str)
def test_a_small_limit_leaves_the_bulk_lane_at_least_one(redis, keys, limit):
    quota = quota_of(redis, keys, limit, limit)
    assert reserve(quota, is_bulk_lane=True) == 0
