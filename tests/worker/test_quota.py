"""Quota: never more than Klaviyo allows in any window, however many ask at the same time."""

from __future__ import annotations

import threading
import time

import pytest

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.limits import RateLimit
from klaviyo_relay_worker.quota import Quota, limits_said
from waiting import for_a_while

ENDPOINT = "POST /api/x"


def quota_of(redis, keys, second, minute, day=0):
    return Quota(redis, keys, {ENDPOINT: RateLimit(second, minute, day)})


def reserve(quota, account="default", **more):
    return quota.reserve(account, ENDPOINT, **more)


def most_in_any_window(times, seconds):
    return max(sum(at <= one < at + seconds for one in times) for at in times)


def test_two_clients_in_parallel_never_exceed_a_window(redis_url, keys):
    granted: list[float] = []

    def work():
        client = connect(redis_url)
        quota = quota_of(client, keys, 5, 1_000)
        for _ in for_a_while(2.5):
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
    key = keys.quota("default", ENDPOINT).times
    for at, stored in enumerate(redis.lrange(key, 0, -1)):
        redis.lset(key, at, int(stored) - 60_301)
    assert reserve(quota) == 0


def test_a_refusal_reserves_nothing(redis, keys):
    quota = quota_of(redis, keys, 2, 100)
    for _ in range(20):
        reserve(quota)
    assert redis.llen(keys.quota("default", ENDPOINT).times) == 2


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
    assert redis.ttl(keys.quota("default", ENDPOINT).times) > 86_000


def test_a_block_holds_everybody_off(redis, redis_url, keys, until):
    other_client = connect(redis_url)
    quota, other = quota_of(redis, keys, 9, 99), quota_of(other_client, keys, 9, 99)
    quota.throttled("default", ENDPOINT, 0.3)
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


def test_a_live_request_that_waits_goes_before_all_bulk_ones(redis, keys, until):
    quota = quota_of(redis, keys, 5, 1_000)
    while reserve(quota) == 0:
        pass
    until(lambda: redis.lindex(keys.quota("default", ENDPOINT).times, 0))
    times = keys.quota("default", ENDPOINT).times
    for at, stored in enumerate(redis.lrange(times, 0, -1)):
        redis.lset(times, at, int(stored) - 2_000)
    assert reserve(quota, is_bulk_lane=True) > 0, "there is room, but a live one has claimed it"
    assert reserve(quota) == 0
    assert reserve(quota, is_bulk_lane=True) == 0


def test_a_claim_of_a_live_request_that_never_comes_ends(redis, keys, until):
    quota = quota_of(redis, keys, 1, 1_000)
    assert reserve(quota) == 0
    assert reserve(quota) > 0
    state = keys.quota("default", ENDPOINT).state
    redis.hset(state, "claimed", int(redis.hget(state, "claimed")) - 60_000)
    until(lambda: reserve(quota, is_bulk_lane=True) == 0, 5)


# --- others on the same account -------------------------------------------------------------------


def granted_at_once(quota):
    """How many requests may go out now."""
    granted = 0
    while reserve(quota) == 0:
        granted += 1
    return granted


def age_everything(redis, keys, seconds):
    """As if so much time had passed."""
    names = keys.quota("default", ENDPOINT)
    redis.delete(names.times)
    for field in ("share_at", "blocked", "claimed"):
        if stored := redis.hget(names.state, field):
            redis.hset(names.state, field, int(stored) - int(seconds * 1000))


def test_a_429_that_we_did_not_earn_halves_our_share_once_for_all_in_flight(redis, keys):
    quota = quota_of(redis, keys, 40, 1_000)
    assert quota.throttled("default", ENDPOINT, 1.0) == 0.5
    assert quota.throttled("default", ENDPOINT, 1.0) == pytest.approx(0.5, abs=0.01)
    age_everything(redis, keys, 1.1)
    assert 20 <= granted_at_once(quota) <= 21


def test_our_share_grows_back_with_time(redis, keys):
    quota = quota_of(redis, keys, 40, 1_000)
    for _ in range(10):
        quota.throttled("default", ENDPOINT, 1.0)
        age_everything(redis, keys, 1.1)
    assert granted_at_once(quota) <= 4
    age_everything(redis, keys, 75)
    assert 20 <= granted_at_once(quota) <= 26
    age_everything(redis, keys, 80)
    assert granted_at_once(quota) == 40


def test_a_share_of_a_small_limit_is_one_request_at_least(redis, keys):
    quota = quota_of(redis, keys, 1, 15)
    for _ in range(10):
        quota.throttled("default", ENDPOINT, 0.1)
        age_everything(redis, keys, 1)
    assert granted_at_once(quota) == 1


def test_a_429_says_nothing_of_what_was_used_of_a_day(redis, keys):
    quota = quota_of(redis, keys, 100, 1_000, day=10)
    times = keys.quota("default", ENDPOINT).times
    hour_ago = int(time.time() * 1000) - 3_600_000
    redis.rpush(times, *([hour_ago] * 6))
    quota.throttled("default", ENDPOINT, 0.001)
    state = keys.quota("default", ENDPOINT).state
    redis.hset(state, "blocked", 0)
    assert granted_at_once(quota) == 4


# --- Redis's clock is set back --------------------------------------------------------------------


def set_clock_back(redis, keys, seconds):
    """As if Redis's clock showed so much less now: all that it noted lies so much later."""
    names = keys.quota("default", ENDPOINT)
    times = [int(one) + int(seconds * 1000) for one in redis.lrange(names.times, 0, -1)]
    redis.delete(names.times)
    if times:
        redis.rpush(names.times, *times)
    for field in ("share_at", "blocked", "blocked_at", "claimed"):
        if stored := redis.hget(names.state, field):
            redis.hset(names.state, field, int(stored) + int(seconds * 1000))


def test_a_clock_that_is_set_back_prolongs_no_window(redis, keys):
    quota = quota_of(redis, keys, 5, 1_000)
    assert granted_at_once(quota) == 5
    set_clock_back(redis, keys, 3_600)
    assert 0 < reserve(quota) <= 1.06


def test_a_clock_that_is_set_back_frees_no_window(redis, keys):
    quota = quota_of(redis, keys, 100, 7)
    assert granted_at_once(quota) == 7
    set_clock_back(redis, keys, 3_600)
    assert 58 < reserve(quota) <= 60.3


def test_a_clock_that_is_set_back_prolongs_no_claim_of_a_live_request(redis, keys, until):
    quota = quota_of(redis, keys, 1, 1_000)
    assert reserve(quota) == 0
    assert reserve(quota) > 0
    set_clock_back(redis, keys, 3_600)
    until(lambda: reserve(quota, is_bulk_lane=True) == 0, 5)


def test_a_clock_that_is_set_back_prolongs_no_retry_after_and_takes_no_share(redis, keys):
    quota = quota_of(redis, keys, 10, 1_000)
    assert reserve(quota) == 0
    quota.throttled("default", ENDPOINT, 900)
    assert reserve(quota) > 890, "the longest wait that Klaviyo may ask for is kept"
    set_clock_back(redis, keys, 3_600)
    assert 4 <= granted_at_once(quota) <= 5
    assert quota.throttled("default", ENDPOINT, 1.0) == pytest.approx(0.25, abs=0.01)


def catch_up(redis, keys, seconds):
    """As if so much time had passed since the clock was set back."""
    set_clock_back(redis, keys, -seconds)


def test_what_a_clock_that_was_set_back_has_freed_is_not_blocked_once_it_has_caught_up(redis, keys):
    quota = quota_of(redis, keys, 10, 1_000)
    quota.throttled("default", ENDPOINT, 5)
    set_clock_back(redis, keys, 3_600)
    assert reserve(quota) == 0
    catch_up(redis, keys, 2_750)
    assert reserve(quota) == 0


def test_a_clock_that_is_set_back_by_minutes_prolongs_no_block(redis, keys):
    quota = quota_of(redis, keys, 10, 1_000)
    quota.throttled("default", ENDPOINT, 5)
    set_clock_back(redis, keys, 600)
    assert reserve(quota) == 0


def test_a_clock_that_is_set_right_by_a_moment_forgets_no_retry_after(redis, keys):
    quota = quota_of(redis, keys, 10, 1_000)
    quota.throttled("default", ENDPOINT, 30)
    set_clock_back(redis, keys, 0.5)
    assert reserve(quota) > 29


def test_a_used_up_window_is_waited_for_by_the_clock_that_was_set_back(redis, keys):
    quota = quota_of(redis, keys, 5, 100)
    quota.throttled("default", ENDPOINT, 30)
    set_clock_back(redis, keys, 600)
    quota.learn("default", ENDPOINT, said("5, 5;w=1, 100;w=60", remaining="0", reset="1"))
    assert 0.5 < reserve(quota) <= 1


def test_a_claim_by_the_old_clock_is_none_once_the_new_one_has_caught_up(redis, keys):
    quota = quota_of(redis, keys, 1, 1_000)
    assert reserve(quota) == 0
    assert reserve(quota) > 0
    set_clock_back(redis, keys, 3_600)
    assert reserve(quota, is_bulk_lane=True) > 0, "the window itself"
    catch_up(redis, keys, 2_750)
    assert reserve(quota, is_bulk_lane=True) == 0


def test_our_share_grows_back_by_the_clock_that_was_set_back(redis, keys):
    quota = quota_of(redis, keys, 40, 1_000)
    for _ in range(6):
        quota.throttled("default", ENDPOINT, 1.0)
        age_everything(redis, keys, 1.1)
    set_clock_back(redis, keys, 3_600)
    assert granted_at_once(quota) <= 4
    catch_up(redis, keys, 200)
    assert granted_at_once(quota) >= 38


# --- what Klaviyo says of its limits --------------------------------------------------------------


def said(text, **more):
    return {"ratelimit-limit": text, **{f"ratelimit-{name}": value for name, value in more.items()}}


@pytest.mark.parametrize("limit", [3, 9])
def test_klaviyos_own_word_on_a_limit_counts_for_all_workers(redis, redis_url, keys, limit):
    other_client = connect(redis_url)
    quota, other = quota_of(redis, keys, 5, 100), quota_of(other_client, keys, 5, 100)
    quota.learn("default", ENDPOINT, said(f"{limit}, {limit};w=1, 100;w=60"))
    assert granted_at_once(other) == limit
    other_client.close()


def test_a_limit_that_is_as_published_again_is_forgotten(redis, keys):
    quota = quota_of(redis, keys, 5, 100)
    quota.learn("default", ENDPOINT, said("3, 3;w=1, 100;w=60"))
    quota.learn("default", ENDPOINT, said("5, 5;w=1, 100;w=60"))
    assert granted_at_once(quota) == 5


def test_the_same_word_again_costs_nothing(redis, keys):
    quota = quota_of(redis, keys, 5, 100)
    quota.learn("default", ENDPOINT, said("5, 5;w=1, 100;w=60"))
    before = redis.info("stats")["total_commands_processed"]
    for _ in range(50):
        quota.learn("default", ENDPOINT, said("5, 5;w=1, 100;w=60", remaining="4", reset="0"))
    assert redis.info("stats")["total_commands_processed"] - before <= 2


def test_a_window_that_is_used_up_is_waited_for(redis, keys):
    quota = quota_of(redis, keys, 5, 100)
    quota.learn("default", ENDPOINT, said("5, 5;w=1, 100;w=60", remaining="0", reset="1"))
    assert 0.5 < reserve(quota) <= 1


def test_a_used_up_window_shortens_no_retry_after(redis, keys):
    quota = quota_of(redis, keys, 5, 100)
    quota.throttled("default", ENDPOINT, 30)
    quota.learn("default", ENDPOINT, said("5, 5;w=1, 100;w=60", remaining="0", reset="1"))
    assert reserve(quota) > 29


HEADERS = {
    "two windows": ("75, 75;w=1, 750;w=60", {1: 75, 60: 750}),
    "three windows": ("10, 10;w=1, 150;w=60, 150;w=86400", {1: 10, 60: 150, 86400: 150}),
    "one window": ("75,75; w=1", {1: 75}),
    "a limit of nothing": ("0;w=1", {}),
    "an unknown window": ("5;w=7", {}),
    "a limit beyond belief": ("99999999999;w=1", {}),
    "a minus sign and a tail": ("-5;w=1;DROP", {1: 5}),
    "nonsense": ("nonsense", {}),
    "empty": ("", {}),
}


@pytest.mark.parametrize(("text", "limits"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_read_or_passed_over(text, limits):
    assert limits_said(text) == limits
