"""Which servers can hold the lanes."""

from __future__ import annotations

from typing import Any

from redis import Redis

from klaviyo_relay.redis_clients import nodes_of
from klaviyo_relay_worker.errors import UnsuitableRedisError

REDIS_LEAST, VALKEY_LEAST = (7, 0), (7, 2)


def check_version(redis: Redis) -> None:
    """Refuse a server, or a cluster with one, that cannot run our scripts.

    Raises:
        UnsuitableRedisError: Redis before 7.0 (which knows no script flags), or Valkey before 7.2.
    """
    for node in nodes_of(redis):
        _check(node.info("server"))


def _check(info: Any) -> None:
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
