"""`klaviyo-relay metrics`: what stands in Redis, for Prometheus; and the same for a worker."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.cli.extras import need

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = logging.getLogger("klaviyo_relay_worker.metrics")

PORT = 9464
LOOPBACK = "127.0.0.1"
_ANY_PORT = click.IntRange(0, 65_535)


@click.command()
@click.option("--port", type=_ANY_PORT, default=PORT, show_default=True, help="0: any free one")
@click.option("--host", default=LOOPBACK, show_default=True, help="address to listen at")
def metrics(port: int, host: str) -> None:
    r"""Serve what stands in Redis and in this machine's spool, for Prometheus.

    Needs no API key. A worker serves the same, and its own counters, with --metrics-port.

    \b
    Example:
      klaviyo-relay metrics --port 9464
    """
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_signal: over.set())
    registry = open_registry()
    click.echo(f"metrics at {serve(registry, host, port)}", err=True)
    over.wait()


def open_registry() -> CollectorRegistry:
    """A registry with the gauges.

    Raises:
        ConfigurationError: the extra is missing, or the environment's settings cannot work.
    """
    need("prometheus", "prometheus_client")
    from klaviyo_relay_worker.exposition import registry_of

    return registry_of(Settings.from_env())


def serve(registry: CollectorRegistry, host: str, port: int) -> str:
    """Answer scrapes; returns the URL.

    Raises:
        ConfigurationError: nothing can listen there.
    """
    from klaviyo_relay_worker import exposition

    chosen = exposition.serve(registry, host, port)
    return f"http://{f'[{host}]' if ':' in host else host}:{chosen}/metrics"


def with_metrics_options(command: Any) -> Any:
    """The options of a worker that serves metrics."""
    port = click.option(
        "--metrics-port",
        type=_ANY_PORT,
        envvar="KLAVIYO_RELAY_METRICS_PORT",
        help=f"serve metrics for Prometheus, by custom at {PORT}",
    )
    host = click.option(
        "--metrics-host",
        default=LOOPBACK,
        show_default=True,
        envvar="KLAVIYO_RELAY_METRICS_HOST",
        help="address to serve them at",
    )
    return port(host(command))
