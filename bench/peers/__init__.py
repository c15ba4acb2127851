"""What klaviyo-relay is measured beside: each module shows one way to send an order to Klaviyo.

A module says how its peer is called, what has to be imported for that, and, where there is one,
which worker delivers what it left in Redis. Each is set up as its own documentation recommends.
"""

from __future__ import annotations

from bench.peers import (
    celery_requests,
    celery_sdk,
    posthog,
    redis_list,
    relay,
    rudder,
    segment,
    sqlite_file,
)
from bench.peers.peer import Peer

# In the order of the table.
ALL: tuple[Peer, ...] = (
    relay.PEER,
    celery_sdk.PEER,
    celery_sdk.PREFORK,
    celery_requests.PEER,
    celery_requests.PREFORK,
    segment.PEER,
    posthog.PEER,
    rudder.PEER,
    redis_list.PEER,
    sqlite_file.PEER,
)
BY_NAME = {peer.name: peer for peer in ALL}
RELAY = relay.PEER
CALLED = tuple(peer for peer in ALL if peer.is_installed and not peer.is_variant)
DELIVERING = tuple(peer for peer in ALL if peer.worker)
# The one that the bars are about.
FIRST = celery_sdk.PEER
