"""The ids of lists that `create_list` made: asked of Redis, where the worker leaves them."""

from __future__ import annotations

import time
from typing import Any

from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked

_LOOK_EVERY_SECONDS = 0.1


def wait_for(settings: Settings, account: str, command_id: str, timeout: float) -> str | None:
    """See `Producer.created_list`."""
    import_whole("redis.exceptions")
    from redis.exceptions import RedisError

    key = settings.keys.created(account, command_id)
    until = time.monotonic() + timeout
    redis = connect(settings.redis_url)
    try:
        while True:
            found: Any = redis.get(key)
            left = until - time.monotonic()
            if found is not None or left <= 0:
                return None if found is None else str(found, "ascii")
            time.sleep(min(_LOOK_EVERY_SECONDS, left))
    except (RedisError, OSError) as error:
        text = f"cannot reach {masked(settings.redis_url)}: {error}"
        raise RedisUnavailableError(text) from error
    finally:
        redis.close()
