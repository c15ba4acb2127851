"""Quota use: the share of Klaviyo's limits that we used in the last minute."""

from __future__ import annotations

import time

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.quota_use import QuotaUse


def test_quota_use_is_the_share_of_the_last_minute(redis, keys):
    quota = Quota(redis, keys)
    for _ in range(3):
        assert quota.reserve("default", limits.CREATE_EVENT) == 0
    use = QuotaUse(redis, keys)
    found = use.shares(["default"])
    assert found["default", limits.CREATE_EVENT] == 3 / 3_500
    assert found["default", limits.GET_LISTS] == 0
    assert len(found) == len(limits.RATE_LIMITS)
    # What Klaviyo said is truer than our table.
    quota.learn("default", limits.CREATE_EVENT, {"ratelimit-limit": "6, 350;w=1, 6;w=60"})
    assert use.shares(["default"])["default", limits.CREATE_EVENT] == 0.5
    # What is older than the minute does not count.
    times = keys.quota("default", limits.CREATE_EVENT).times
    redis.lpush(times, int((time.time() - 61) * 1000))
    assert use.shares(["default"])["default", limits.CREATE_EVENT] == 0.5


def test_each_account_has_a_share_of_its_own(redis, keys):
    quota = Quota(redis, keys)
    assert quota.reserve("shop", limits.CREATE_LIST) == 0
    found = QuotaUse(redis, keys).shares(["default", "shop"])
    assert found["default", limits.CREATE_LIST] == 0
    assert found["shop", limits.CREATE_LIST] == 1 / 150
    assert QuotaUse(redis, keys).shares([]) == {}
