"""Connections to one server, which leave it once it has become a replica.

Behind an address that moves (a DNS name, a proxy, a floating IP) a primary that somebody makes a
replica keeps its connections open, and refuses whatever would write: READONLY, or MASTERDOWN while
its own primary is away. Only a new connection leads to the server that has taken over. A server
that is loading (LOADING) needs nothing here: redis-py takes that for a lost connection.

redis-py does the same where Sentinels name the primary (`SentinelManagedConnection`, 8.1.0).
"""

from __future__ import annotations

from typing import Any

from redis import ConnectionPool
from redis.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, ReadOnlyError


class _PrimaryConnection(AbstractConnection):
    """A connection that ends when the server says that it is a replica.

    Attributes:
        has_met_replica: it has ended so, and its pool does not know yet.
        generation: that of the pool when it was handed out.
    """

    has_met_replica: bool = False
    generation: int = 0

    def read_response(self, *args: Any, **options: Any) -> Any:
        """As redis-py's; what a replica has refused is an error of the connection."""
        try:
            return super().read_response(*args, **options)
        except (ReadOnlyError, MasterDownError) as error:
            self.has_met_replica = True
            self.disconnect()
            raise RedisConnectionError(f"the server has become a replica: {error}") from error


class _Plain(_PrimaryConnection, Connection):
    pass


class _Encrypted(_PrimaryConnection, SSLConnection):
    pass


class _BySocket(_PrimaryConnection, UnixDomainSocketConnection):
    pass


_CLASSES: dict[Any, type[Any]] = {
    Connection: _Plain,
    SSLConnection: _Encrypted,
    UnixDomainSocketConnection: _BySocket,
}


class PrimaryPool(ConnectionPool):
    """A pool whose connections all leave a server of which one has learned that it is a replica.

    Those that nobody uses end at once, the others when they are given back: a read must not be
    answered by a server that the writes have left.

    Args:
        connection_class: redis-py's own.
        options: as redis-py takes them.
    """

    def __init__(self, connection_class: type[Any], **options: Any) -> None:
        self._generation = 0
        super().__init__(connection_class=_CLASSES[connection_class], **options)

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """As redis-py's."""
        # Read first: what is handed out just before a change is of the generation before it.
        generation = self._generation
        connection: Any = super().get_connection(*args, **options)
        connection.generation = generation
        return connection

    def release(self, connection: Any) -> None:
        """As redis-py's."""
        if connection.has_met_replica:
            connection.has_met_replica = False
            self._generation += 1
            self.disconnect(inuse_connections=False)
        if connection.generation != self._generation:
            connection.disconnect()
        super().release(connection)
