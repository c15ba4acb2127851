"""segment-analytics-python: a queue in memory, and a thread that sends.

As it comes, except for the length of its queue, which would drop what is over 10,000.
"""

from __future__ import annotations

from bench.peers import sink
from bench.peers.order import FLAT, METRIC
from bench.peers.peer import Caller, Peer, Place

LIMIT = 1_000_000


def _caller(place: Place) -> Caller:
    from segment.analytics import Client

    client = Client("key", host=place.sink_url, max_queue_size=LIMIT)
    return Caller(lambda: client.track("ada", METRIC, {**FLAT}), client.shutdown)


PEER = Peer(
    name="segment",
    title="segment-analytics-python",
    caller=_caller,
    module="segment",
    imports="import segment.analytics",
    arrived=sink.arrived,
)
