"""Celery's Redis transport, mended: neither a restart of Redis nor a full one ends the worker.

Written against kombu 5.7.0; look at it again before another minor version is allowed.

Restart: kombu closes the connection twice when Redis goes away; the second time it stumbles over
what the first has cleared (AttributeError on a `None` client, in `restore_unacked_once`), and the
worker process exits. The same happens when a task that began before is acknowledged over the closed
connection. Nothing needs to be restored there: our deliveries are acknowledged on
receipt, and what the Celery door has not acknowledged comes back by the visibility time-out.

Full: popping a message is allowed, but writing down that it is under way is not, so kombu loses it
and the worker exits; nor can it start again, for it may not write its bindings. Here these writes
are scripts that may run over the limit: they are few, small, and make way for what frees memory.
Redis refuses all that is queued in a MULTI while it is full, even reads, so nothing here uses one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from kombu.transport import redis
from kombu.transport.virtual import QoS as VirtualQoS
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

logger = logging.getLogger("klaviyo_relay_worker.transport")

# KEYS: index of unacknowledged messages, their bodies. ARGV: delivery tag, now, body
_REMEMBER = """#!lua flags=allow-oom
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
"""
# KEYS: index, bodies, the queues to put it into. ARGV: delivery tag, LPUSH or RPUSH, body
_PUT_BACK = """#!lua flags=allow-oom
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then
  for at = 3, #KEYS do
    redis.call(ARGV[2], KEYS[at], ARGV[3])
  end
end
redis.call('ZREM', KEYS[1], ARGV[1])
"""
# KEYS: the exchange's bindings, those that stay. ARGV: binding
_BIND = """#!lua flags=allow-oom
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
"""


class QoS(redis.QoS):
    """Keeps what is unacknowledged in a full Redis too; restores nothing over a dead connection."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """A message has been popped and is under way."""
        where = message.delivery_info
        body = dumps([message._raw, where["exchange"], where["routing_key"]])  # noqa: SLF001 - as kombu itself
        self.channel.remember(
            keys=self.channel.script_keys(self.unacked_index_key, self.unacked_key),
            args=[delivery_tag, time.time(), body],
        )
        VirtualQoS.append(self, message, delivery_tag)

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """As the original, without MULTI."""
        if pipe:
            yield pipe
        else:
            with self.channel.conn_or_acquire(client) as connected:
                yield connected.pipeline(transaction=False)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Put an unacknowledged message back into its queues."""
        with self.channel.conn_or_acquire(client) as connected:
            stored = connected.hget(self.unacked_key, tag)
            if stored is None:
                connected.zrem(self.unacked_index_key, tag)
                return
            pushes = _Pushes()
            message, exchange, routing_key = loads(bytes_to_str(stored))
            # kombu logs and goes on when it finds no queue; then the message stays where it is.
            self.channel._do_restore_message(message, exchange, routing_key, pushes, leftmost)  # noqa: SLF001 - as kombu itself
            if pushes.queues:
                self.channel.put_back(
                    keys=self.channel.script_keys(
                        self.unacked_index_key, self.unacked_key, *pushes.queues
                    ),
                    args=[tag, "LPUSH" if leftmost else "RPUSH", pushes.body],
                )

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """As the original; while Redis refuses its lock, what is overdue waits."""
        try:
            super().restore_visible(start, num, interval)
        except ResponseError as error:
            logger.debug("overdue messages wait: %s", error)

    def restore_unacked_once(self, stderr: Any = None) -> Any:
        """As the original, unless the connection is gone already."""
        try:
            return super().restore_unacked_once(stderr)
        except (AttributeError, *redis.Transport.connection_errors):
            self._delivered.restored = True  # type: ignore[attr-defined]  # kombu's own mark
            return None


class _Pushes:
    """Stands in for a pipeline and remembers what would have been pushed."""

    def __init__(self) -> None:
        self.queues: list[str] = []
        self.body = ""

    def rpush(self, queue: str, body: str) -> None:
        self.queues.append(queue)
        self.body = body

    lpush = rpush


class Channel(redis.Channel):
    """Uses the mended QoS, and binds and measures queues in a full Redis too."""

    QoS = QoS

    @cached_property
    def remember(self) -> Any:
        """The script for a message that is under way."""
        return self._create_client().register_script(_REMEMBER)

    @cached_property
    def put_back(self) -> Any:
        """The script for a message that goes back."""
        return self._create_client().register_script(_PUT_BACK)

    @cached_property
    def _bind(self) -> Any:
        return self._create_client().register_script(_BIND)

    @cached_property
    def _refresh_binding(self) -> Any:
        text = f"#!lua flags=allow-oom\n{redis.REFRESH_BINDING}"
        return self._create_client().register_script(text)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """As the original; over a closed connection an error that Celery knows how to take."""
        if client is None and (self.connection is None or self.connection.client is None):
            raise RedisConnectionError("this connection to the broker has been closed meanwhile")
        with super().conn_or_acquire(client) as connected:
            yield connected

    def script_keys(self, first: str, *others: str) -> list[str]:
        """Keys of a script: kombu's prefixing client looks after the first of them only."""
        return [first, *(f"{self.global_keyprefix}{key}" for key in others)]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if queue in self._expires:  # a script already, see _refresh_binding
            super()._queue_bind(exchange, routing_key, pattern, queue)
            return
        if self.typeof(exchange).type == "fanout":
            self._fanout_queues[queue] = (exchange, routing_key.replace("#", "*"))
        self._bind(
            keys=self.script_keys(
                self.keyprefix_queue % exchange, self.keyprefix_binding_permanent % exchange
            ),
            args=[self.sep.join([routing_key or "", pattern or "", queue or ""])],
        )

    def _size(self, queue: str) -> int:
        with self.conn_or_acquire() as client:
            pipeline = client.pipeline(transaction=False)
            for priority in self.priority_steps:
                pipeline.llen(self._q_for_pri(queue, priority))
            return sum(pipeline.execute())

    def _has_queue(self, queue: str, **_keywords: Any) -> bool:
        with self.conn_or_acquire() as client:
            names = [self._q_for_pri(queue, priority) for priority in self.priority_steps]
            return any(client.exists(name) for name in names)


class Transport(redis.Transport):
    """Uses the mended channel; what Redis refuses for the moment is no reason to exit.

    It may be full, read-only after a failover, or unable to write its file (MISCONF).
    """

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)


class SocketTransport(Transport):
    """The mended transport, by a Unix domain socket: its URL is the channel's to read."""

    can_parse_url = True


class SentinelChannel(Channel, redis.SentinelChannel):
    """The mended channel, at the primary that Sentinels name."""


class SentinelTransport(Transport):
    """The mended transport, at the primary that Sentinels name."""

    default_port: Any = redis.SentinelTransport.default_port
    Channel = SentinelChannel
