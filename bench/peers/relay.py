"""klaviyo-relay itself."""

from __future__ import annotations

from bench.order import METRIC, ORDER
from bench.peers.peer import Caller, Peer, Place


def _caller(place: Place) -> Caller:
    from klaviyo_relay import Producer, Settings

    producer = Producer(Settings(redis_url=place.redis_url, spool_dir=place.path / "spool"))
    return Caller(lambda: producer.track(METRIC, **ORDER), lambda: producer.close(60))


def _arrived(place: Place) -> int:
    """What the spools of ended processes still hold is shipped first, as any producer does."""
    from klaviyo_relay import Settings
    from klaviyo_relay.lane_entrance import LaneEntrance
    from klaviyo_relay.orphans import ship_orphans
    from klaviyo_relay.redis_clients import connect

    settings = Settings(redis_url=place.redis_url, spool_dir=place.path / "spool")
    client = connect(place.redis_url)
    ship_orphans(LaneEntrance(client, settings.keys, settings.lane_max_bytes), settings)
    found = int(client.xlen(settings.keys.lane("default", "events").stream))
    client.close()
    return found


PEER = Peer(
    name="relay",
    title="**klaviyo-relay**",
    caller=_caller,
    module="klaviyo_relay",
    imports="import klaviyo_relay",
    worker=("-m", "klaviyo_relay_worker", "worker", "--concurrency", "16"),
    uses_redis=True,
    arrived=_arrived,
)
