"""redis-py alone: an RPUSH of klaviyo-relay's own envelope, the floor of a call that uses Redis."""

from __future__ import annotations

import time

from bench.peers.celery_calls import waiting
from bench.peers.order import METRIC, ORDER
from bench.peers.peer import Caller, Peer, Place

QUEUE = "bench-list"


def envelope() -> bytes:
    """The order as klaviyo-relay stores it."""
    from klaviyo_relay import Track
    from klaviyo_relay.envelope import Envelope, encode, new_id

    at = time.time_ns() // 1_000_000
    command = Track(metric=METRIC, **ORDER)
    return encode(Envelope(id=new_id(), account="default", at=at, command=command))


def _caller(place: Place) -> Caller:
    import redis

    client, body = redis.Redis.from_url(place.redis_url), envelope()
    return Caller(lambda: client.rpush(QUEUE, body), client.close)


def _arrived(place: Place) -> int:
    return waiting(QUEUE, place)


PEER = Peer(
    name="redis",
    title="bare redis-py, RPUSH",
    caller=_caller,
    module="redis",
    imports="import redis",
    uses_redis=True,
    arrived=_arrived,
)
