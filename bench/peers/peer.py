"""A peer: how it is called, and what delivers for it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a peer finds what it needs; empty is what the benchmark at hand does not have."""

    redis_url: str
    directory: str
    """For files of its own."""
    sink_url: str = ""
    """A server that takes what segment, posthog and rudder send."""

    @property
    def path(self) -> Path:
        return Path(self.directory)

    def queue_length(self, queue: str) -> int:
        """Of a list in its Redis."""
        from klaviyo_relay.redis_clients import connect

        client = connect(self.redis_url)
        found = int(client.llen(queue))
        client.close()
        return found


class Caller(NamedTuple):
    """A peer in the calling process, ready for its first call."""

    call: Callable[[], Any]
    """Says that an order was placed."""
    close: Callable[[], Any]


class Peer(NamedTuple):
    """One way to get an order to Klaviyo, or a part of the way."""

    name: str
    title: str
    caller: Callable[[Place], Caller]
    arrived: Callable[[Place], int]
    """How many orders are kept where its calls leave them, whatever became of the caller."""
    module: str
    """Without it the peer is not installed."""
    imports: str
    """What a process that calls it has to import."""
    worker: tuple[str, ...] | None = None
    """Arguments for Python; the worker has 16 threads unless its title says otherwise."""
    uses_redis: bool = False
    calls: int = 20_000
    """In a flood; fewer for those that need long."""
    is_variant: bool = False
    """Called as the peer before it is; only its worker differs."""

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None
