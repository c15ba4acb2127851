"""The checkup: what could go wrong with this installation, each finding with its fix."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import structs
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.keys import Keys
from klaviyo_relay.redis_address import RedisAddress
from klaviyo_relay.redis_clients import nodes_of
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.spool_place import why_unsuitable
from klaviyo_relay_worker.errors import UnsuitableRedisError
from klaviyo_relay_worker.finding import Finding
from klaviyo_relay_worker.occupancy import occupancy
from klaviyo_relay_worker.server_version import check_version

# Redis's clock counts quotas, ours the age of commands; this much apart does no harm.
CLOCK_TOLERANCE_SECONDS = 2.0
# Less room than this for the spool is too little for an outage, or for anything.
_ROOM_SCANT, _ROOM_NONE = 1_000_000_000, 20_000_000


def check_spool(settings: Settings) -> Iterator[Finding]:
    """Whether the spool directory can be written, and lasts."""
    directory = settings.spool_directory
    nearest = directory
    while not nearest.exists():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK | os.X_OK):
        text = f"{directory} cannot be written; set KLAVIYO_RELAY_SPOOL_DIR or its permissions"
        yield Finding("fault", "spool", text)
        return
    reason = why_unsuitable(directory)
    if reason:
        yield Finding("warning", "spool", f"{reason}; set KLAVIYO_RELAY_SPOOL_DIR")
    elif _is_open_to_others(directory):
        yield Finding("warning", "spool", f"{directory} can be read by others; chmod 700 it")
    else:
        yield Finding("ok", "spool", f"{directory} can be written")
    yield from _disk(nearest)


def _disk(directory: Path) -> Iterator[Finding]:
    """A command takes some 500 bytes: a gigabyte is an outage of two million of them."""
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if free < _ROOM_SCANT:
        text = f"only {free / 1e6:,.0f} MB are free on its disk; make room"
        yield Finding("fault" if free < _ROOM_NONE else "warning", "spool", text)


def _is_open_to_others(directory: Path) -> bool:
    return directory.exists() and bool(directory.stat().st_mode & 0o077)


def check_redis(redis: Redis, settings: Settings) -> Iterator[Finding]:
    """Whether Redis is there, new enough and durable, and its clock agrees."""
    address = masked(settings.redis_url)
    try:
        check_version(redis)
        nodes = nodes_of(redis)
        looks = [(node.info(), node.time()) for node in nodes]
    except UnsuitableRedisError as error:
        yield Finding("fault", "redis", f"{error} ({address})")
        return
    except RedisError as error:
        text = f"{address} does not answer ({error}); start it, or set KLAVIYO_RELAY_REDIS_URL"
        yield Finding("fault", "redis", text)
        return
    yield Finding("ok", "redis", f"{address} answers")
    yield from _room(redis, settings.keys)
    for node, (info, clock) in zip(nodes, looks, strict=True):
        findings = [*_durability(info), *_replicas(info, settings), *_memory(info), *_clock(clock)]
        name = f"{_name(node)}: " if len(nodes) > 1 else ""
        yield from (structs.replace(one, text=f"{name}{one.text}") for one in findings)


def _name(node: Redis) -> str:
    options = node.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


def _clock(clock: tuple[int, int]) -> Iterator[Finding]:
    seconds, microseconds = clock
    apart = abs(time.time() - (seconds + microseconds / 1e6))
    if apart > CLOCK_TOLERANCE_SECONDS:
        text = f"Redis's clock and this machine's are {apart:.0f} s apart; run NTP on both"
        yield Finding("warning", "clock", text)


def _durability(info: dict[str, Any]) -> Iterator[Finding]:
    if info.get("role") != "master":
        text = "this server is a replica and takes no writes; point KLAVIYO_RELAY_REDIS_URL at"
        yield Finding("fault", "durability", f"{text} its primary")
    if int(info.get("aof_enabled", 0)):
        yield Finding("ok", "durability", "the append-only file is on")
    else:
        text = "no append-only file: a restart of Redis loses commands; set appendonly yes"
        yield Finding("warning", "durability", text)
    if info.get("aof_last_write_status", "ok") != "ok":
        text = "the last write of the append-only file failed; look at Redis's disk"
        yield Finding("fault", "durability", text)


def _replicas(info: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    kind = RedisAddress.of(settings.redis_url).kind
    if kind == "server" or info.get("role") != "master":
        return
    if not int(info.get("connected_slaves", 0)):
        text = "no replica is connected: nobody can take over from this primary"
        yield Finding("warning", "replicas", text)
        return
    yield Finding("ok", "replicas", f"{info['connected_slaves']} connected")
    # INFO has this line where min-replicas-to-write is set, and only there (Redis 7.0, Valkey 9.1).
    if "min_slaves_good_slaves" not in info:
        text = "a primary that is cut off would go on taking commands; set min-replicas-to-write 1"
        yield Finding("warning", "replicas", text)


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: a full Redis would throw commands away;"
        yield Finding("warning", "memory", f"{text} set it to noeviction")
    most = int(info.get("maxmemory", 0))
    if not most:
        text = "no maxmemory: a long outage may fill the machine; set it below the memory there is"
        yield Finding("warning", "memory", text)


def _room(redis: Redis, keys: Keys) -> Iterator[Finding]:
    found = occupancy(redis, keys)
    if found.is_above_watermark:
        text = f"{found}. Producers keep their commands in the spool; make room, or raise maxmemory"
        yield Finding("warning", "room", text)
    elif found.most:
        yield Finding("ok", "room", f"{found.used / found.most:.0%} of maxmemory is used")
