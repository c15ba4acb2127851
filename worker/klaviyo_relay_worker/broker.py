"""Celery's broker: what Celery must be told to use it.

kombu (5.7.0) has transports for one Redis server, for Sentinel and for RabbitMQ, and none for a
Redis Cluster. Of `rediss://` it takes no notice in a transport that is named as ours is, and where
it does it verifies no certificate; so TLS is spelled out here, verified unless the URL says
otherwise.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct, field
from redis.connection import parse_url

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.redis_address import RedisAddress
from klaviyo_relay.redis_clients import Patience, tls_options
from klaviyo_relay_worker.settings import WorkerSettings, broker_fault

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 5.0
# Bounds every call to the broker; kombu's own time-outs never reach the Redis client.
_OPTIONS = {
    "socket_timeout": _ANSWER_SECONDS,
    "socket_connect_timeout": _CONNECT_SECONDS,
    "socket_keepalive": True,
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # Of the connection that publishes; without them it tries for seconds more than the policy says.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}


class Broker(Struct, frozen=True):
    """A broker as Celery takes it.

    Attributes:
        url: for kombu.
        transport: our own class for Redis, as Celery imports it; None for other brokers.
        options: of the transport.
        tls: of each connection; None without TLS.
    """

    url: str
    transport: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    tls: dict[str, Any] | None = None


def broker_of(settings: WorkerSettings) -> Broker:
    """The broker that the settings name.

    Raises:
        ConfigurationError: Celery cannot use it.
    """
    if fault := broker_fault(settings):
        raise ConfigurationError([fault])
    if not settings.broker_url.startswith(("redis", "unix:")):
        return Broker(settings.broker_url)
    address = RedisAddress.of(settings.broker_url)
    if address.kind == "sentinel":
        return _of_sentinels(address)
    is_socket = address.scheme == "unix"
    transport = f"klaviyo_relay_worker.transport:{'Socket' if is_socket else ''}Transport"
    return Broker(_url_of_server(address), transport, _OPTIONS, _tls(address))


def _url_of_server(address: RedisAddress) -> str:
    """As kombu reads it: it takes none of redis-py's options, and names a database otherwise."""
    given = parse_url(address.url)
    user, password = (quote(given.get(name, ""), safe="") for name in ("username", "password"))
    credentials = f"{user}:{password}@" if user or password else ""
    database = given.get("db", 0)
    if address.scheme == "unix":
        return f"socket://{credentials}{quote(given['path'])}?virtual_host={database}"
    where = urlsplit(address.url).netloc.rpartition("@")[2]
    return f"{address.scheme}://{credentials}{where}/{database}"


def _of_sentinels(address: RedisAddress) -> Broker:
    """Each new connection asks them for the primary; all of them together within its time."""
    tls = _tls(address)
    share = _CONNECT_SECONDS / len(address.hosts)
    asking = {**Patience(share, share).as_options(), **address.of_sentinels}
    if tls is not None:
        asking |= {"ssl": True, **tls}
    hosts = [f"[{host}]" if ":" in host else host for host, _ in address.hosts]
    urls = [
        f"sentinel://{address.credentials}{host}:{port}/{address.database}"
        for host, (_, port) in zip(hosts, address.hosts, strict=True)
    ]
    return Broker(
        ";".join(urls),
        "klaviyo_relay_worker.transport:SentinelTransport",
        {**_OPTIONS, "master_name": address.service, "sentinel_kwargs": asking},
        tls,
    )


def _tls(address: RedisAddress) -> dict[str, Any] | None:
    """With the certificate verified, as redis-py does by itself, and kombu does not."""
    return None if address.tls is None else {"ssl_cert_reqs": "required", **tls_options(address)}
