"""The checkup: what could go wrong with this installation, each finding with its fix."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import nodes_of
from klaviyo_relay.redis_address import RedisAddress
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.spool_place import why_unsuitable
from klaviyo_relay_worker.errors import TransportError, UnsuitableRedisError
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.limits import GET_LISTS
from klaviyo_relay_worker.occupancy import occupancy
from klaviyo_relay_worker.server_version import check_version
from klaviyo_relay_worker.settings import WorkerSettings, broker_fault, variable_of

# Redis's clock counts quotas, ours the age of commands; this much apart does no harm.
CLOCK_TOLERANCE_SECONDS = 2.0
_API_SECONDS = 8.0


class Finding(Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        level: ok, warning (works, but may lose or stall) or fault (does not work).
        subject: what was looked at.
        text: what was found, and how to mend it.
    """

    level: Literal["ok", "warning", "fault"]
    subject: str
    text: str


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


def check_broker(settings: WorkerSettings) -> Iterator[Finding]:
    """Whether Celery has a broker that it can use."""
    fault = broker_fault(settings)
    if fault:
        yield Finding("fault", "broker", fault)
    elif settings.celery_broker_url:
        yield Finding("ok", "broker", f"Celery uses {masked(settings.celery_broker_url)}")


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


def check_keys(settings: WorkerSettings) -> Iterator[Finding]:
    """Whether Klaviyo takes each API key."""
    if not settings.api_keys:
        yield Finding("warning", "key", "no API key here; a worker needs KLAVIYO_API_KEY")
    for account, key in sorted(settings.api_keys.items()):
        client = KlaviyoClient(settings.api_url, key, settings.api_revision, _API_SECONDS)
        try:
            yield _key(account, client)
        finally:
            client.close()


def _key(account: str, client: KlaviyoClient) -> Finding:
    subject = f"key {account}"
    try:
        answer = client.send(Request(endpoint=GET_LISTS, path="/api/lists"))
    except TransportError as error:
        return Finding("fault", subject, f"{error}; look at KLAVIYO_API_URL and the network")
    if answer.is_accepted:
        return Finding("ok", subject, "Klaviyo takes it")
    if answer.status in (401, 403):
        text = f"Klaviyo answers {answer.status}; check {variable_of(account)} and its scopes"
        return Finding("fault", subject, f"{text} (lists:read and those of what you send)")
    return Finding("warning", subject, f"Klaviyo answers {answer.status} at the moment")
