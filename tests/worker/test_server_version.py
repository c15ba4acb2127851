"""Which servers can hold the lanes: Redis from 7.0, Valkey from 7.2."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.errors import UnsuitableRedisError
from klaviyo_relay_worker.server_version import check_version


def test_the_server_of_these_tests_will_do(redis):
    check_version(redis)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_version": "7.0.0"}, ""),
        ({"redis_version": "10.1"}, ""),
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old; Redis 7.0"),
        ({}, "Redis 0 is too old; Redis 7.0"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.0"}, ""),
        (
            {"redis_version": "7.2.4", "valkey_version": "7.1.9"},
            "Valkey 7.1.9 is too old; Valkey 7.2",
        ),
    ],
    ids=["redis 7", "redis 10", "redis 6", "no version", "valkey 7.2", "valkey 7.1"],
)
def test_a_server_that_is_too_old_is_refused_by_its_name(redis, info, said):
    redis.set_response_callback("INFO", lambda _answer, **_options: info)
    if not said:
        check_version(redis)
        return
    with pytest.raises(UnsuitableRedisError, match=said):
        check_version(redis)
