"""Redis for the command line: connected, checked, and waited for where that is asked."""

from __future__ import annotations

import logging

import tenacity
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import masked

logger = logging.getLogger("klaviyo_relay_worker.redis_access")


def wait_for_redis(url: str, timeout: float | None = None) -> Redis:
    """A client of a server that answers; says once that it waits.

    Args:
        timeout: most seconds to wait; None for ever.

    Raises:
        redis.RedisError, OSError: the server's last one, after the time-out.
    """
    redis = connect(url)

    def say(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1:
            logger.warning("waiting for Redis at %s: %s", masked(url), error)

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((RedisError, OSError)),
        wait=tenacity.wait_random_exponential(0.2, 5.0),
        before_sleep=say,
        stop=tenacity.stop_never if timeout is None else tenacity.stop_after_delay(timeout),
        reraise=True,
    )
    waiting(redis.ping)
    return redis
