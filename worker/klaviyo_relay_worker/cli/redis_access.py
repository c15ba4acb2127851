"""Redis for the command line: connected, checked, and waited for where that is asked."""

from __future__ import annotations

from typing import Any

import click
import tenacity
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.lane_entrance import connect
from klaviyo_relay.settings import masked
from klaviyo_relay_worker.errors import UnsuitableRedisError

REDIS_LEAST, VALKEY_LEAST = (7, 0), (7, 2)


def check_version(redis: Redis) -> None:
    """Refuse a server that cannot run our scripts.

    Raises:
        UnsuitableRedisError: Redis before 7.0 (which knows no script flags), or Valkey before 7.2.
    """
    info: Any = redis.info("server")
    name, least = "Redis", REDIS_LEAST
    version = str(info.get("redis_version", "0"))
    if "valkey_version" in info:
        name, least, version = "Valkey", VALKEY_LEAST, str(info["valkey_version"])
    found = tuple(int(part) for part in version.split(".")[:2])
    if found < least:
        needed = ".".join(map(str, least))
        raise UnsuitableRedisError(
            f"{name} {version} is too old; {name} {needed} or later is needed"
        )


def wait_for_redis(url: str) -> Redis:
    """A client of a server that answers; says once that it waits, and waits for ever."""
    redis = connect(url)

    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1:
            click.echo(f"waiting for Redis at {masked(url)}: {error}", err=True)

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((RedisError, OSError)),
        wait=tenacity.wait_random_exponential(0.2, 5.0),
        before_sleep=say,
    )
    waiting(redis.ping)
    return redis
