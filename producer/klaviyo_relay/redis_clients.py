"""Clients of the servers that hold the lanes, each bounded in time, none retrying by itself.

Importing this module does not import redis; connecting does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from msgspec import Struct

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.redis_address import RedisAddress

if TYPE_CHECKING:
    from redis import Redis

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0


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
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return {
            "socket_connect_timeout": self.connect,
            "socket_timeout": self.answer,
            "retry": Retry(NoBackoff(), 0),
        }


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """A client that never waits longer than it says, and never retries by itself.

    A retry inside the client would hide from us that an answer was lost.

    Args:
        url: the setting `redis_url`; see `redis_address`.
        answer_seconds: for an answer, and at most two seconds before it for a connection. In a
            cluster for a map of it too, where the last one is out of date.

    Raises:
        ConfigurationError: it is no such URL.
    """
    import_whole("klaviyo_relay.redis_imports")
    try:
        address = RedisAddress.of(url)
    except ValueError as error:
        raise ConfigurationError([f"KLAVIYO_RELAY_REDIS_URL {error}"]) from None
    return client_of(address, Patience(min(CONNECT_SECONDS, answer_seconds), answer_seconds))


def client_of(address: RedisAddress, patience: Patience) -> Redis:
    """A client; it connects when it is first used."""
    if address.kind == "sentinel":
        return _primary_of(address, patience)
    if address.kind == "cluster":
        return _cluster_of(address, patience)
    return _server_of(address, patience)


def nodes_of(redis: Redis) -> list[Redis]:
    """The servers that hold lanes: one, or all primaries of a cluster."""
    from klaviyo_relay.cluster_client import ClusterClient

    return redis.primaries() if isinstance(redis, ClusterClient) else [redis]


def node_of(redis: Redis, key: str) -> Redis:
    """The server that holds a key."""
    from klaviyo_relay.cluster_client import ClusterClient

    return redis.node_of(key) if isinstance(redis, ClusterClient) else redis


def tls_options(address: RedisAddress) -> dict[str, Any]:
    """The options of TLS in a URL, as redis-py takes them."""
    from redis.connection import parse_url

    options = parse_url(f"rediss://host?{urlencode(address.tls or {})}")
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


def _server_of(address: RedisAddress, patience: Patience) -> Redis:
    from redis import Redis
    from redis.connection import Connection, parse_url

    from klaviyo_relay.primary_pool import PrimaryPool

    options = {"connection_class": Connection, **patience.as_options(), **parse_url(address.url)}
    return Redis.from_pool(PrimaryPool(**options))


def _cluster_of(address: RedisAddress, patience: Patience) -> Redis:
    from redis import ConnectionPool, Redis
    from redis.connection import parse_url

    from klaviyo_relay.cluster_client import ClusterClient

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
    from redis.connection import parse_url
    from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

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
