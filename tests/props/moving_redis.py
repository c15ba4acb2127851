"""A Redis behind an address that moves on, as a DNS name, a proxy or a floating IP does.

New connections lead to the new primary. Those that are open stay at the old one, which lives on as
its replica.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from forwarders import NOBODY_LISTENS, Forwarder
from klaviyo_relay_worker.embedded import PrivateRedis
from ports import HOST, free_port
from waiting import wait_until


class MovingRedis:
    """Two servers with one password, and the address of the primary.

    Attributes:
        url: by the address.
    """

    def __init__(self, old: PrivateRedis, new: PrivateRedis) -> None:
        self._old, self._new = old, new
        password = old.url.partition("redis://:")[2].partition("@")[0]
        for server in (old, new):
            with Redis.from_url(server.url) as redis:
                redis.config_set("masterauth", password)
                redis.config_set("requirepass", password)
        self._old_client = Redis(HOST, _port(old), password=password)
        self._new_client = Redis(HOST, _port(new), password=password)
        self._address = Forwarder(_port(old), free_port())
        self.url = self._address.url(old.url)
        self._new_client.replicaof(HOST, str(_port(old)))
        wait_until(self._is_replicated, what="the replica has all")

    def move(self) -> None:
        """The replica takes over, and the old primary follows it."""
        wait_until(self._is_replicated, what="the replica has all")
        self._address.lead_new_to(_port(self._new))
        self._new_client.replicaof("NO", "ONE")
        self._old_client.replicaof(HOST, str(_port(self._new)))

    def cut_off(self) -> None:
        """From here on, the old primary learns nothing more."""
        self._old_client.replicaof(HOST, str(NOBODY_LISTENS))

    def close(self) -> None:
        """The servers are ended by whoever started them."""
        self._address.close()
        self._old_client.close()
        self._new_client.close()

    @property
    def primary(self) -> Redis:
        """A client of whoever has taken over."""
        return self._new_client

    @property
    def old(self) -> Redis:
        """A client of whoever was primary before."""
        return self._old_client

    def _is_replicated(self) -> bool:
        here, there = (one.info("replication") for one in (self._old_client, self._new_client))
        return (
            there.get("master_link_status") == "up"
            and there["slave_repl_offset"] >= here["master_repl_offset"]
        )


def _port(server: PrivateRedis) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


@contextmanager
def moving_redis() -> Iterator[MovingRedis]:
    """See MovingRedis."""
    with PrivateRedis() as old, PrivateRedis() as new:
        made = MovingRedis(old, new)
        try:
            yield made
        finally:
            made.close()
