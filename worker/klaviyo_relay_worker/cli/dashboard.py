"""`klaviyo-relay dashboard`: one page that shows what is where, and lets a person act on it."""

from __future__ import annotations

import logging
from contextlib import suppress

import click

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.cli.extras import need
from klaviyo_relay_worker.settings import WorkerSettings


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8765,
    show_default=True,
    help="port to listen at; 0 takes a free one",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen at")
@click.option(
    "--name", "names", multiple=True, help="a host name by which a proxy asks; may be repeated"
)
def dashboard(port: int, host: str, names: tuple[str, ...]) -> None:
    r"""A page with lanes, limits and dead letters; redrive, discard, pause and resume.

    Only this machine can reach it, unless --host or --name say otherwise; then it needs
    KLAVIYO_RELAY_DASHBOARD_TOKEN, of at least 16 characters, and asks for it.

    \b
    Example:
      klaviyo-relay dashboard --port 8765
    """
    need("dashboard", "jinja2", "starlette", "uvicorn")
    from klaviyo_relay_worker.dashboard.app import create_app, listen, server_of
    from klaviyo_relay_worker.dashboard.binding import Binding

    binding = Binding.from_env(host, port, names)
    app = create_app(WorkerSettings.from_env(), binding)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    try:
        listening = listen(binding)
    except OSError as error:
        raise ConfigurationError([f"cannot listen at {host}:{port}: {error}"]) from None
    with listening:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"dashboard at http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C ends it)")
        # The server ends in order on Ctrl-C, and then says so once more.
        with suppress(KeyboardInterrupt):
            server_of(app).run(sockets=[listening])
