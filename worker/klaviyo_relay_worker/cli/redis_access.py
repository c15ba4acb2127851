"""Redis for the command line: connected, checked, and waited for where that is asked."""

from __future__ import annotations

import logging

import tenacity
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.lane_entrance import connect
from klaviyo_relay.settings import masked

logger = logging.getLogger("klaviyo_relay_worker.redis_access")


def wait_for_redis(url: str) -> Redis:
    """A client of a server that answers; says once that it waits, and waits for ever."""
    redis = connect(url)

    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1:
            logger.warning("waiting for Redis at %s: %s", masked(url), error)

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((RedisError, OSError)),
        wait=tenacity.wait_random_exponential(0.2, 5.0),
        before_sleep=say,
    )
    waiting(redis.ping)
    return redis
