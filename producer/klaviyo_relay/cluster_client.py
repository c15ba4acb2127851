"""A client of a Redis Cluster that does what the lanes need, within a time that it keeps.

redis-py has one that does more, and for lanes not enough (8.1.0): it connects when it is made, with
an error that is no RedisError; once a node is away it asks all others one after the other, each
with the whole time-out; and it loads a script into all primaries or fails, so that one that is
away keeps lanes of the others waiting. This one sends each command to the node that has its key:

- A call waits for the map of the cluster, if that is out of date, and then for its answer, each
  time `answer_seconds` at the most.
- What may have been done is never sent again. Only a node that says that it has not done it, since
  the slot is elsewhere (MOVED, ASK) or the script unknown (NOSCRIPT), makes us send once more.
- A command without a key (TIME, PING, PUBLISH) goes to any primary: a cluster hands on what is
  published to all of its nodes.

"Redis cluster specification" says what MOVED, ASK and slots are.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct
from redis import Redis
from redis.commands import CoreCommands
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Host = tuple[str, int]
MakeNode = Callable[[str, int, float], Redis]

# Nodes that are asked for the map in one call; the next call asks others.
ASKED_AT_ONCE = 3
REDIRECTIONS_MOST = 5
_KEYLESS = frozenset({"CLUSTER", "CONFIG", "FLUSHALL", "INFO", "PING", "PUBLISH", "TIME"})
_SHOWS_ANOTHER_MAP = (RedisConnectionError, RedisTimeoutError, ClusterDownError, ReadOnlyError)


class Topology(Struct, frozen=True):
    """Which primary has which slots.

    Attributes:
        starts: first slots of all ranges, in rising order.
        ranges: last slot and primary of each range.
        hosts: all nodes, replicas too.
    """

    starts: tuple[int, ...]
    ranges: tuple[tuple[int, Host], ...]
    hosts: frozenset[Host]

    @classmethod
    def of(cls, rows: Iterable[Any], asked: str) -> Topology:
        """From the answer to CLUSTER SLOTS of the node at the host `asked`."""
        hosts: set[Host] = set()
        ranges = []
        for first, last, *nodes in rows:
            # A node that does not know its own address leaves it out.
            named = [(_text(node[0]) or asked, int(node[1])) for node in nodes]
            hosts.update(named)
            ranges.append((int(first), int(last), named[0]))
        ranges.sort()
        return cls(
            tuple(first for first, _, _ in ranges),
            tuple((last, primary) for _, last, primary in ranges),
            frozenset(hosts),
        )

    @property
    def primaries(self) -> list[Host]:
        """Those with slots, in a fixed order."""
        return sorted({primary for _, primary in self.ranges})

    def primary_of(self, slot: int) -> Host:
        """Who has a slot.

        Raises:
            ClusterError: nobody has, at the moment.
        """
        at = bisect_right(self.starts, slot) - 1
        if at < 0 or self.ranges[at][0] < slot:
            raise ClusterError(f"no node of the cluster has the slot {slot} at the moment")
        return self.ranges[at][1]


class ClusterClient(Redis):
    """See above; for commands and scripts whose keys are all in one slot.

    Args:
        seeds: nodes to ask first.
        make_node: makes the client of one node, from host, port and seconds to wait.
        answer_seconds: how long a node may take to answer.
    """

    def __init__(self, seeds: Sequence[Host], make_node: MakeNode, answer_seconds: float) -> None:
        self._make_node = make_node
        self._answer_seconds = answer_seconds
        self._candidates = list(seeds)
        self._nodes: dict[Host, Redis] = {}
        self._topology: Topology | None = None
        self._asked_at = 0.0
        self._failure = ""
        self._guard = threading.Lock()
        # Never used: it tells redis-py's own code how to encode.
        super().__init__(connection_pool=make_node(*seeds[0], answer_seconds).connection_pool)

    def primaries(self) -> list[Redis]:
        """A client of each primary, by a map that is asked for anew.

        Who uses these does not go through `execute_command`, and would not notice an old one.
        """
        self._forget()
        return [self._node(host) for host in self._map().primaries]

    def node_of(self, key: str | bytes | None) -> Redis:
        """The client of the primary that has a key; of any for None."""
        topology = self._map()
        if key is None:
            return self._node(random.choice(topology.primaries))  # noqa: S311 - spreads load
        encoded = key if isinstance(key, bytes) else key.encode()
        try:
            return self._node(topology.primary_of(key_slot(encoded)))
        except ClusterError:
            self._topology = None
            raise

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node that has its key."""
        key = _key_of(args)
        for _ in range(REDIRECTIONS_MOST):
            node = self.node_of(key)
            try:
                return node.execute_command(*args, **options)
            except MovedError as error:
                self._forget((error.host, error.port))
            except AskError as error:
                return self._ask((error.host, error.port), args, options)
            except _SHOWS_ANOTHER_MAP:
                self._forget()
                raise
        raise ClusterError("the nodes of the cluster do not agree on who has a slot")

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> Any:  # noqa: FBT001, FBT002, ARG002 - as redis-py's
        """Commands that are sent together, as far as they go to one node."""
        if transaction:
            raise ClusterError("a cluster has no transactions over all of its nodes")
        return ClusterPipeline(self)

    def pubsub(self, **options: Any) -> Any:
        """A subscription at any node that answers."""
        for _ in range(ASKED_AT_ONCE):
            node = self.node_of(None)
            try:
                node.ping()
            except _SHOWS_ANOTHER_MAP:
                self._forget()
                continue
            return node.pubsub(**options)
        raise RedisConnectionError("no node of the cluster takes a subscription")

    def register_script(self, script: Any) -> Any:
        """A script that is loaded into each node when it is first called there."""
        return ClusterScript(self, script)

    def close(self) -> None:
        """Close the connections to all nodes."""
        for node in self.__dict__.get("_nodes", {}).values():
            node.close()
        super().close()

    def send_to(self, node: Redis, commands: Sequence[tuple[Any, Any]]) -> list[Any]:
        """Send commands to one node together; errors stand among the answers."""
        pipeline = node.pipeline(transaction=False)
        for args, options in commands:
            pipeline.execute_command(*args, **options)
        try:
            return pipeline.execute(raise_on_error=False)
        except _SHOWS_ANOTHER_MAP:
            self._forget()
            raise

    def _ask(self, host: Host, args: Any, options: Any) -> Any:
        """The slot is on its way to another node, which has this key already."""
        answer = self.send_to(self._node(host), [(("ASKING",), {}), (args, options)])[1]
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def _node(self, host: Host) -> Redis:
        with self._guard:
            if host not in self._nodes:
                self._nodes[host] = self._make_node(*host, self._answer_seconds)
            return self._nodes[host]

    def _forget(self, hint: Host | None = None) -> None:
        """The map is out of date; `hint` is a node that must know more."""
        with self._guard:
            self._topology = None
            if hint is not None and hint[0]:
                self._candidates = [hint, *(host for host in self._candidates if host != hint)]

    def _map(self) -> Topology:
        topology = self._topology
        if topology is not None:
            return topology
        began = time.monotonic()
        with self._guard:
            # Who has waited for another thread's look takes what that has found, or has not.
            if self._asked_at < began:
                self._look()
            if self._topology is None:
                raise RedisConnectionError(f"no node of the cluster answers: {self._failure}")
            return self._topology

    def _look(self) -> None:
        share = self._answer_seconds / (2 * ASKED_AT_ONCE)
        for host in self._candidates[:ASKED_AT_ONCE]:
            node = self._make_node(*host, share)
            try:
                self._topology = Topology.of(node.execute_command("CLUSTER SLOTS"), host[0])
            except RedisError as error:
                self._failure = str(error)
                self._candidates.remove(host)
                self._candidates.append(host)
            else:
                others = {*self._candidates, *self._topology.hosts} - {host}
                self._candidates = [host, *sorted(others)]
                known = self._topology.hosts
                self._nodes = {at: node for at, node in self._nodes.items() if at in known}
                break
            finally:
                node.close()
        self._asked_at = time.monotonic()


class ClusterPipeline(CoreCommands):
    """Commands that are sent together, node by node; what has no key goes with the first one.

    For reading: what a node has not done, since the slot is elsewhere, is sent again by itself.
    """

    # redis-py's commands ask for one that only watches a connection.
    _event_dispatcher: Any = None

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._commands: list[tuple[Any, Any]] = []

    def execute_command(self, *args: Any, **options: Any) -> ClusterPipeline:
        """Keep a command until `execute`."""
        self._commands.append((args, options))
        return self

    def execute(self) -> list[Any]:
        """Send all; returns the answers in the order of the commands."""
        commands, self._commands = self._commands, []
        answers: list[Any] = [None] * len(commands)
        for node, places in self._by_node(commands).items():
            found = self._cluster.send_to(node, [commands[at] for at in places])
            for at, answer in zip(places, found, strict=True):
                answers[at] = self._settled(answer, *commands[at])
        return answers

    def _by_node(self, commands: Sequence[tuple[Any, Any]]) -> dict[Redis, list[int]]:
        keys = [_key_of(args) for args, _ in commands]
        first = next((key for key in keys if key is not None), None)
        places: dict[Redis, list[int]] = {}
        for at, key in enumerate(keys):
            places.setdefault(self._cluster.node_of(key or first), []).append(at)
        return places

    def _settled(self, answer: Any, args: Any, options: Any) -> Any:
        if isinstance(answer, AskError):
            return self._cluster.execute_command(*args, **options)
        if isinstance(answer, RedisError):
            raise answer
        return answer


class ClusterScript:
    """A script for lanes on any node."""

    def __init__(self, cluster: ClusterClient, text: str) -> None:
        self._cluster = cluster
        self._text = text
        # The name that EVALSHA knows it by.
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(
        self,
        keys: Sequence[str] = (),
        args: Sequence[Any] = (),
        client: ClusterPipeline | None = None,
    ) -> Any:
        """Run it where its keys are; or in a pipeline, where nobody loads it first."""
        if client is not None:
            return client.execute_command("EVAL", self._text, len(keys), *keys, *args)
        try:
            return self._cluster.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return self._cluster.eval(self._text, len(keys), *keys, *args)


def _key_of(args: Sequence[Any]) -> Any:
    """The first key of a command; None if it has none."""
    name, _, _ = str(args[0]).upper().partition(" ")
    if name in _KEYLESS or len(args) < 2:
        return None
    if name in ("EVAL", "EVALSHA"):
        return args[3] if int(args[2]) else None
    return args[1]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
