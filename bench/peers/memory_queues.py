"""Clients of other services: a queue in memory, and a thread that sends.

As they come, except for the length of the queue, which would drop what is over 10,000.
"""

from __future__ import annotations

from bench.order import FLAT, METRIC
from bench.peers import sink
from bench.peers.peer import Caller, Peer, Place

LIMIT = 1_000_000


def _segment(place: Place) -> Caller:
    from segment.analytics import Client

    client = Client("key", host=place.sink_url, max_queue_size=LIMIT)
    return Caller(lambda: client.track("ada", METRIC, {**FLAT}), client.shutdown)


def _rudder(place: Place) -> Caller:
    from rudderstack.analytics.client import Client

    client = Client("key", host=place.sink_url, max_queue_size=LIMIT)
    return Caller(lambda: client.track("ada", METRIC, {**FLAT}), client.shutdown)


def _posthog(place: Place) -> Caller:
    from posthog import Posthog

    client = Posthog("key", host=place.sink_url, max_queue_size=LIMIT)
    return Caller(
        lambda: client.capture(METRIC, distinct_id="ada", properties={**FLAT}), client.shutdown
    )


SEGMENT = Peer(
    name="segment",
    title="segment-analytics-python",
    caller=_segment,
    module="segment",
    imports="import segment.analytics",
    arrived=sink.arrived,
)
POSTHOG = SEGMENT._replace(
    name="posthog",
    title="posthog",
    caller=_posthog,
    module="posthog",
    imports="import posthog",
)
RUDDER = SEGMENT._replace(
    name="rudder",
    title="rudder-sdk-python",
    caller=_rudder,
    module="rudderstack",
    imports="import rudderstack.analytics",
)
