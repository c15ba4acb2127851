"""redis-py alone: an RPUSH of klaviyo-relay's own envelope, the floor of a call that uses Redis."""

from __future__ import annotations

from bench.order import envelope
from bench.peers.peer import Caller, Peer, Place

QUEUE = "bench-list"


def _caller(place: Place) -> Caller:
    import redis

    client, body = redis.Redis.from_url(place.redis_url), envelope()
    return Caller(lambda: client.rpush(QUEUE, body), client.close)


PEER = Peer(
    name="redis",
    title="bare redis-py, RPUSH",
    caller=_caller,
    module="redis",
    imports="import redis",
    uses_redis=True,
    arrived=lambda place: place.queue_length(QUEUE),
)
