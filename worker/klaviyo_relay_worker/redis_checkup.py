"""The checkup of what Redis's settings mean for what is stored: how much may be lost, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from klaviyo_relay.redis_clients import nodes_of
from klaviyo_relay_worker.finding import Finding

_FSYNC = {
    "always": ("ok", "every write is on the disk before it is answered"),
    "everysec": (
        "ok",
        "appendfsync everysec: a power cut loses about two seconds, which producers ship again",
    ),
    "no": (
        "warning",
        "appendfsync no: a power cut may lose half a minute and more; set appendfsync everysec",
    ),
}


def check_persistence(redis: Redis) -> Iterator[Finding]:
    """Whether what Redis says that it has is on its disk; nothing where it does not answer."""
    try:
        looks: list[Any] = [(node, node.info("persistence")) for node in nodes_of(redis)]
    except RedisError:
        return
    for node, info in looks:
        yield from _of_node(node, info)


def _of_node(redis: Redis, info: dict[str, Any]) -> Iterator[Finding]:
    yield from _files(info)
    if int(info.get("aof_enabled", 0)):
        yield from _fsync(_setting(redis, "appendfsync"))
        if _setting(redis, "no-appendfsync-on-rewrite") == "yes":
            text = "no-appendfsync-on-rewrite yes: a power cut while the file is rewritten loses"
            yield Finding("warning", "durability", f"{text} up to half a minute; set it to no")


def _files(info: dict[str, Any]) -> Iterator[Finding]:
    if int(info.get("loading", 0)):
        text = "Redis is loading its file and answers nothing else yet; wait"
        yield Finding("fault", "durability", text)
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        text = (
            "the last snapshot failed: Redis may refuse writes (MISCONF). Look at the room on its"
            ' disk and the rights of its directory; without snapshots (save "") it does not matter'
        )
        yield Finding("fault", "durability", text)
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        text = "the last rewrite of the append-only file failed: it grows; look at Redis's disk"
        yield Finding("warning", "durability", text)


def _fsync(setting: str | None) -> Iterator[Finding]:
    if setting is None:
        text = "appendfsync cannot be read (a managed Redis, or an ACL); it should be everysec"
        yield Finding("ok", "durability", text)
    else:
        level, text = _FSYNC.get(setting, ("warning", f"appendfsync {setting} is unknown here"))
        yield Finding("ok" if level == "ok" else "warning", "durability", text)


def _setting(redis: Redis, name: str) -> str | None:
    """A setting of the server, or None where it may not be read."""
    try:
        found: Any = redis.config_get(name)
    except ResponseError:
        return None
    value: str | None = found.get(name)
    return value
