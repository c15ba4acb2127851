"""Real clusters, Sentinels and servers with TLS on loopback, and sites around them.

What the server here cannot do (TLS) is skipped with a reason.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from ports import HOST, free_port
from programs import needs
from redis_nodes import RedisNode
from sites import Site
from steady_load import SteadyLoad
from waiting import wait_until

PASSWORD = "geheim"
SLOTS = 16_384


class Node(RedisNode):
    """One server process that wants a password."""

    options: dict[str, Any]

    def __init__(self, directory: Path, *directives: str, mode: str = "") -> None:
        super().__init__(directory, *directives, mode=mode)
        self.options = {"password": PASSWORD}

    def client(self, **options: Any) -> Redis:
        """A client that fails soon."""
        given = {"socket_timeout": 2.0, **self.options, **options}
        return Redis(HOST, self.port, socket_connect_timeout=1.0, **given)

    def ask(self, *words: Any) -> Any:
        """The answer to one command, over a connection of its own; None if there is none."""
        with self.client() as client, contextlib.suppress(RedisError):
            return client.execute_command(*words)
        return None


class Servers:
    """All processes of a test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._nodes: list[Node] = []

    def node(self, *directives: str, mode: str = "") -> Node:
        """One more, started; without `mode` a server of data."""
        data = ["save ''", "appendonly yes", f"requirepass {PASSWORD}", f"masterauth {PASSWORD}"]
        lines = [*([] if mode else data), *directives]
        node = Node(self._directory / f"node{len(self._nodes)}", *lines, mode=mode)
        self._nodes.append(node)
        node.start()
        return node

    def logs(self) -> str:
        """What all have said."""
        return "\n".join(f"--- {node.port}\n{node.log()}" for node in self._nodes)

    def close(self) -> None:
        """End all."""
        for node in self._nodes:
            node.kill()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """See Servers."""
    directory = tmp_path / "servers"
    directory.mkdir()
    started = Servers(directory)
    yield started
    started.close()


class Authority:
    """Certificates for a test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self.ca = self._make("ca", "-x509", "-addext", "basicConstraints=critical,CA:TRUE")
        self.key = directory / "ca.key"

    def issue(self, name: str, *, host: str = HOST) -> tuple[Path, Path]:
        """A certificate and its key."""
        request = self._make(name)
        extension = self._directory / f"{name}.ext"
        extension.write_text(f"subjectAltName=IP:{host}\n")
        certificate = self._directory / f"{name}.pem"
        signing = ["-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial"]
        self._openssl("x509", *signing, "-days", "2", "-extfile", extension, "-out", certificate)
        return certificate, self._directory / f"{name}.key"

    def _make(self, name: str, *more: str) -> Path:
        made, key = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._openssl("req", *curve, "-keyout", key, "-out", made, "-subj", f"/CN={name}", *more)
        return made

    def _openssl(self, *words: Any) -> None:
        subprocess.run([needs("openssl"), *map(str, words)], check=True, capture_output=True)


class Encrypted:
    """Servers that speak nothing but TLS, and want a certificate of their clients."""

    def __init__(self, servers: Servers, directory: Path) -> None:
        self._servers = servers
        self.authority = Authority(directory / "authority")
        self.stranger = Authority(directory / "stranger")
        certificate, key = self.authority.issue("server")
        self._directives = [
            "port 0",
            "tls-port $PORT",
            f"tls-ca-cert-file {self.authority.ca}",
            f"tls-cert-file {certificate}",
            f"tls-key-file {key}",
            "tls-replication yes",
        ]
        self.client_certificate, self.client_key = self.authority.issue("client")

    def options(self, ca: Path | None = None) -> dict[str, str]:
        """Of a client, as they stand in a URL."""
        return {
            "ssl_ca_certs": str(ca or self.authority.ca),
            "ssl_certfile": str(self.client_certificate),
            "ssl_keyfile": str(self.client_key),
        }

    def node(self, *directives: str, mode: str = "") -> Node:
        """One more, started and ready."""
        node = self._servers.node(*self._directives, *directives, mode=mode)
        node.options |= {"ssl": True, **self.options()}
        if mode:
            node.options["password"] = None
        wait_until(lambda: node.ask("PING") or self._has_no_tls(node), 60, node.log)
        if self._has_no_tls(node):
            pytest.skip("the Redis server here was built without TLS")
        return node

    def _has_no_tls(self, node: Node) -> bool:
        # What Valkey 9.1 and Redis 7.0 say.
        return "Failed finding TLS support" in node.log() or "Bad directive" in node.log()


@pytest.fixture
def encrypted(servers: Servers, tmp_path: Path) -> Encrypted:
    """See Encrypted."""
    return Encrypted(servers, tmp_path)


class Cluster:
    """Three primaries, each with a replica."""

    PRIMARIES = 3

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.nodes = [self._start() for _ in range(2 * self.PRIMARIES)]
        for node in self.nodes:
            wait_until(lambda node=node: node.ask("PING"), 60, servers.logs)
        self._join()

    @property
    def url(self) -> str:
        """Of all nodes."""
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        return f"redis+cluster://:{PASSWORD}@{hosts}"

    def primary_of(self, key: str) -> Node:
        """Who has a key, by the word of any node that answers."""
        slots = next(filter(None, (node.ask("CLUSTER SLOTS") for node in self.nodes)))
        slot = next(filter(None, (node.ask("CLUSTER KEYSLOT", key) for node in self.nodes)))
        port = next(row[2][1] for row in slots if row[0] <= slot <= row[1])
        return next(node for node in self.nodes if node.port == port)

    def is_well(self, without: Node | None = None) -> bool:
        """Whether all nodes but one say that every slot is served."""
        rest = [node for node in self.nodes if node is not without]
        return all(says(node, "cluster_state", "ok") for node in rest)

    def _start(self) -> Node:
        return self._servers.node(
            "cluster-enabled yes",
            f"cluster-port {free_port()}",
            "cluster-node-timeout 1000",
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
        )

    def _join(self) -> None:
        primaries, replicas = self.nodes[: self.PRIMARIES], self.nodes[self.PRIMARIES :]
        for number, node in enumerate(primaries):
            first, last = (SLOTS * at // self.PRIMARIES for at in (number, number + 1))
            node.ask("CLUSTER ADDSLOTSRANGE", first, last - 1)
            # Epochs of their own, so that they need not agree on them first.
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        self._meet()
        for primary, replica in zip(primaries, replicas, strict=True):
            identity = primary.ask("CLUSTER MYID")
            wait_until(lambda r=replica, i=identity: r.ask("CLUSTER REPLICATE", i), 60)
        wait_until(self.is_well, 60, self._servers.logs)
        for primary in primaries:
            wait_until(lambda p=primary: replicas_of(p), 60, self._servers.logs)

    def _meet(self) -> None:
        bus = [node.client().config_get("cluster-port")["cluster-port"] for node in self.nodes]
        known = str(len(self.nodes))

        def strangers() -> list[int]:
            return [
                at
                for at, node in enumerate(self.nodes)
                if not says(node, "cluster_known_nodes", known)
            ]

        # A server forgets a handshake that took longer than the node time-out, here one second, and
        # on a busy machine it may: so those who do not know all others yet are introduced again.
        for _ in range(10):
            for at in strangers():
                self.nodes[0].ask("CLUSTER MEET", HOST, self.nodes[at].port, bus[at])
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not strangers(), 3)
                return
        raise AssertionError(f"the nodes do not know each other: {self._servers.logs()}")


def says(node: Node, name: str, value: str) -> bool:
    """Whether a node says this of its cluster."""
    return bool((node.ask("CLUSTER INFO") or {}).get(name) == value)


def replicas_of(node: Node) -> int:
    """How many replicas have caught up with it."""
    with node.client() as client:
        found: Any = client.info("replication")
    slaves = [one for name, one in found.items() if name.startswith("slave") and name[5:].isdigit()]
    return sum(one["state"] == "online" for one in slaves)


@pytest.fixture
def cluster(servers: Servers) -> Cluster:
    """See Cluster."""
    return Cluster(servers)


@pytest.fixture
def load_at() -> Callable[[Site], SteadyLoad]:
    """Starts an application that calls two verbs all the time."""
    return lambda site: SteadyLoad(site, profile={"first_name": "Ada"})


class Watched:
    """A primary with two replicas, and three Sentinels."""

    NAME = "lanes"
    SENTINELS_PASSWORD = "wache"

    def __init__(self, servers: Servers, *, directives: tuple[str, ...] = ()) -> None:
        self._servers = servers
        durable = ("repl-diskless-sync-delay 0", "appendfsync always", *directives)
        primary = servers.node(*durable)
        wait_until(lambda: primary.ask("PING"), 60, servers.logs)
        replicas = [servers.node(*durable, f"replicaof {HOST} {primary.port}") for _ in range(2)]
        self.nodes = [primary, *replicas]
        wait_until(lambda: replicas_of(primary) == len(replicas), 60, servers.logs)
        self.sentinels = [self._watch(primary) for _ in range(3)]
        wait_until(self._all_know_all, 60, servers.logs)

    @property
    def url(self) -> str:
        """Of the Sentinels."""
        hosts = ",".join(f"{HOST}:{one.port}" for one in self.sentinels)
        own = f"sentinel_password={self.SENTINELS_PASSWORD}"
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{self.NAME}/0?{own}"

    @property
    def primary(self) -> Node:
        """By the word of any Sentinel that answers."""
        answers = (self._ask(one, "SENTINEL GET-MASTER-ADDR-BY-NAME") for one in self.sentinels)
        port = int(next(filter(None, answers))[1])
        return next(node for node in self.nodes if node.port == port)

    def has_another_primary_than(self, node: Node) -> bool:
        """Whether another one has taken over and takes writes."""
        primary = self.primary
        return primary is not node and (primary.ask("ROLE") or [b""])[0] == b"master"

    def _watch(self, primary: Node) -> Node:
        return self._servers.node(
            f"requirepass {self.SENTINELS_PASSWORD}",
            f"sentinel monitor {self.NAME} {HOST} {primary.port} 2",
            f"sentinel auth-pass {self.NAME} {PASSWORD}",
            f"sentinel sentinel-pass {self.SENTINELS_PASSWORD}",
            f"sentinel down-after-milliseconds {self.NAME} 1000",
            f"sentinel failover-timeout {self.NAME} 2000",
            mode="--sentinel",
        )

    def _ask(self, sentinel: Node, *words: Any) -> Any:
        with (
            sentinel.client(password=self.SENTINELS_PASSWORD) as client,
            contextlib.suppress(RedisError),
        ):
            return client.execute_command(*words, self.NAME)
        return None

    def _all_know_all(self) -> bool:
        for sentinel in self.sentinels:
            found = self._ask(sentinel, "SENTINEL MASTER") or {}
            others = (found.get("num-slaves"), found.get("num-other-sentinels"))
            if others != (len(self.nodes) - 1, len(self.sentinels) - 1):
                return False
        return True


@pytest.fixture
def watched(servers: Servers) -> Watched:
    """See Watched."""
    return Watched(servers)
