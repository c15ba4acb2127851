"""The exposition: a small HTTP server that Prometheus scrapes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.gauges import Gauges
from klaviyo_relay_worker.telemetry.counters import NAMESPACE

# A scrape lasts at most ten seconds by default; two tries, one for the lanes and one for the spool.
ANSWER_SECONDS = 2.0


def registry_of(settings: Settings) -> CollectorRegistry:
    """A registry of our own, with the gauges and this process's memory, time and files."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(namespace=NAMESPACE, registry=registry)
    redis = connect(settings.redis_url, answer_seconds=ANSWER_SECONDS)
    registry.register(Gauges(redis, settings))
    return registry


def serve(registry: CollectorRegistry, address: str, port: int) -> int:
    """Answer scrapes from threads of this process; returns the port, chosen if it was 0.

    Raises:
        ConfigurationError: nothing can listen there.
    """
    try:
        server, _ = start_http_server(port, address, registry)
    except OSError as error:
        fault = f"cannot serve metrics at {address}:{port}: {error.strerror or error}"
        raise ConfigurationError([fault]) from error
    return server.server_port
