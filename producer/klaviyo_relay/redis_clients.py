"""Clients of the servers that hold the lanes, each bounded in time, none retrying by itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from msgspec import Struct
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from klaviyo_relay.cluster_client import ClusterClient
from klaviyo_relay.redis_address import RedisAddress


class Patience(Struct, frozen=True):
    """How long a client waits, in seconds.

    Attributes:
        connect: for a connection.
        answer: for an answer.
    """

    connect: float
    answer: float

    def as_options(self) -> dict[str, Any]:
        """As redis-py takes it; with `retry`, without which it would try again by itself."""
        return {
            "socket_connect_timeout": self.connect,
            "socket_timeout": self.answer,
            "retry": Retry(NoBackoff(), 0),
        }


def client_of(address: RedisAddress, patience: Patience) -> Redis:
    """A client; it connects when it is first used."""
    if address.kind == "sentinel":
        return _primary_of(address, patience)
    if address.kind == "cluster":
        return _cluster_of(address, patience)
    return Redis.from_url(address.url, **patience.as_options())


def _cluster_of(address: RedisAddress, patience: Patience) -> Redis:
    def node(host: str, port: int, seconds: float) -> Redis:
        own = Patience(min(patience.connect, seconds), seconds)
        options = {**own.as_options(), **parse_url(address.url_of(host, port))}
        return Redis.from_pool(ConnectionPool(**options))

    return ClusterClient(address.hosts, node, patience.answer)


def _primary_of(address: RedisAddress, patience: Patience) -> Redis:
    """The primary is asked for at each new connection.

    All Sentinels together may take as long as one connection: those that are away are asked again
    each time.
    """
    share = patience.connect / len(address.hosts)
    tls = address.tls
    asking: dict[str, Any] = {**Patience(share, share).as_options(), **address.of_sentinels}
    if tls is not None:
        asking |= {"ssl": True, **tls_options(address)}
    sentinel = Sentinel(address.hosts, sentinel_kwargs=asking)
    options = {**patience.as_options(), **parse_url(address.url_of("primary", 0))}
    for name in ("host", "port"):
        options.pop(name, None)
    options["connection_class"] = (
        SentinelManagedConnection if tls is None else SentinelManagedSSLConnection
    )
    client: Redis = sentinel.master_for(address.service, **options)
    return client


def tls_options(address: RedisAddress) -> dict[str, Any]:
    """The options of TLS in a URL, as redis-py takes them."""
    options = parse_url(f"rediss://host?{urlencode(address.tls or {})}")
    return {name: value for name, value in options.items() if name.startswith("ssl_")}
