"""How much of Klaviyo's limits is used, as the page shows it."""

from __future__ import annotations

import time

from klaviyo_relay_worker.limits import BULK_CREATE_EVENTS, CREATE_LIST
from klaviyo_relay_worker.quota import Quota


def test_a_used_limit_is_shown_with_klaviyos_number(dashboard, stock):
    stock.wait()
    quota = Quota(stock.redis, stock.keys)
    for _ in range(3):
        assert quota.reserve("default", BULK_CREATE_EVENTS) == 0
    quota.reserve("default", CREATE_LIST)
    page = dashboard.get("/").text
    assert ">3 of 150 a minute" in page
    assert ">1 of 150 a day" in page


def test_what_klaviyo_says_of_a_limit_is_what_is_shown(dashboard, stock):
    stock.wait()
    quota = Quota(stock.redis, stock.keys)
    quota.reserve("default", BULK_CREATE_EVENTS)
    quota.learn("default", BULK_CREATE_EVENTS, {"ratelimit-limit": "10, 10;w=1, 120;w=60"})
    quota.throttled("default", BULK_CREATE_EVENTS, 30)
    page = dashboard.get("/").text
    assert ">1 of 120 a minute" in page
    assert "our share 50 %" in page
    assert "blocked for 30 s" in page


def test_requests_older_than_a_minute_do_not_count(dashboard, stock):
    stock.wait()
    now = int(time.time() * 1000)
    times = stock.keys.quota("default", BULK_CREATE_EVENTS).times
    stock.redis.rpush(times, *range(now - 90_000, now - 80_000, 1000), now - 50_000, now - 10)
    assert ">2 of 150 a minute" in dashboard.get("/").text
