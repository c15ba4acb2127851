"""What klaviyo-relay is measured beside: each peer is one way to send an order to Klaviyo.

A module says how its peers are called, what has to be imported for that, and, where there is one,
which worker delivers what they left in Redis. Each is set up as its own documentation recommends.
"""

from __future__ import annotations

from bench.peers import celery_peers, memory_queues, redis_list, relay, sqlite_file
from bench.peers.peer import Peer

# In the order of the table.
ALL: tuple[Peer, ...] = (
    relay.PEER,
    celery_peers.SDK,
    celery_peers.SDK_PREFORK,
    celery_peers.REQUESTS,
    celery_peers.REQUESTS_PREFORK,
    memory_queues.SEGMENT,
    memory_queues.POSTHOG,
    memory_queues.RUDDER,
    redis_list.PEER,
    sqlite_file.PEER,
)
BY_NAME = {peer.name: peer for peer in ALL}
RELAY = relay.PEER
# The one that the bars are about.
FIRST = celery_peers.SDK
CALLED = tuple(peer for peer in ALL if peer.is_installed and not peer.is_variant)
DELIVERING = tuple(peer for peer in ALL if peer.is_installed and peer.worker)
