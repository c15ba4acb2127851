"""`klaviyo-relay worker`, `sandbox` and `demo`: what runs."""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.cli.metrics import open_registry, serve, with_metrics_options
from klaviyo_relay_worker.cli.redis_access import wait_for_redis
from klaviyo_relay_worker.server_version import check_version
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.telemetry.event import Telemetry
from klaviyo_relay_worker.telemetry.log import log
from klaviyo_relay_worker.telemetry.spans import trace

if TYPE_CHECKING:
    from klaviyo_relay_worker.telemetry.log_form import Form

logger = logging.getLogger("klaviyo_relay_worker.run")


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 256), help="threads; each delivers one lane")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="the least that is logged",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    envvar="KLAVIYO_RELAY_LOG_FORMAT",
    help="of the lines on standard error  [default: console on a terminal, else json]",
)
@click.option("--task-events", "-E", is_flag=True, help="send Celery's events, as for Flower")
@with_metrics_options
def worker(  # noqa: PLR0917 - click passes by name
    concurrency: int | None,
    log_level: str,
    task_events: bool,  # noqa: FBT001 - the same
    log_format: Form | None,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    r"""Deliver: one process with everything that is needed. Run as many as you like, anywhere.

    \b
    Example:
      KLAVIYO_API_KEY=pk_... klaviyo-relay worker
    """
    settings = WorkerSettings.from_env()
    if not settings.api_keys:
        fault = (
            "no API key: set KLAVIYO_API_KEY to a private key of your Klaviyo account"
            " (KLAVIYO_API_KEY_<NAME> for further accounts)"
        )
        raise ConfigurationError([fault])
    _set_up_logging(log_format, log_level)
    logger.info("begins with %r", settings)
    check_version(wait_for_redis(settings.redis_url))
    from klaviyo_relay_worker.app import create_app, run_worker

    app = create_app(settings, telemetry=_telemetry(metrics_host, metrics_port))
    # What was made so far lives as long as the process: the garbage collector need not look at it
    # again each time that a backlog makes many small objects.
    gc.freeze()
    arguments = ["worker", "--without-gossip", "--without-mingle", "-l", log_level.upper()]
    if task_events:
        arguments.append("--task-events")
    if concurrency is not None:
        arguments += ["--concurrency", str(concurrency)]
    sys.exit(run_worker(app, arguments))


def _set_up_logging(form: Form | None, level: str) -> None:
    from klaviyo_relay_worker.telemetry import log_form

    form = form or log_form.form_for(sys.stderr)
    log_form.configure(form, level, sys.stderr)
    if level != "debug":
        # Two lines for each wake-up call say nothing that the delivery's own line does not.
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)
    if form == "json":
        # There Celery has words for the person at the terminal, past all logging ("Warm shutdown").
        # They would stand between the lines where both streams are collected together.
        sys.__stdout__ = Path(os.devnull).open("w", encoding="ascii")  # type: ignore[misc]  # noqa: SIM115 - as long as the process


def _telemetry(host: str, port: int | None) -> Telemetry:
    """Who hears of the worker's deliveries.

    Raises:
        ConfigurationError: the metrics cannot be served.
    """
    if port is None:
        return Telemetry(log, trace)
    registry = open_registry()
    from klaviyo_relay_worker.telemetry.counters import Counters

    counters = Counters(registry)
    logger.info("metrics at %s", serve(registry, host, port))
    return Telemetry(log, trace, counters)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
@click.pass_context
def sandbox(context: click.Context) -> None:
    r"""A stand-in for Klaviyo to develop against.

    \b
    Example:
      klaviyo-relay sandbox --port 8099
    """
    from klaviyo_relay_worker.sandbox.__main__ import main

    sys.exit(main(context.args))


@click.command()
@click.option("--customers", type=click.IntRange(1), help="only the first so many")
@click.option("--live", "live_address", metavar="ADDRESS", help="send a few to Klaviyo itself")
def demo(customers: int | None, live_address: str | None) -> None:
    r"""Deliver a real shop's purchase history: 2,357 customers, 6,919 orders.

    Starts a private Redis, a stand-in for Klaviyo with Klaviyo's real rate limits, and a worker.
    --live sends to Klaviyo itself instead: a handful of customers with addresses made from yours
    (you+1@...), with KLAVIYO_API_KEY, after a question.

    \b
    Example:
      klaviyo-relay demo --customers 100
    """
    from klaviyo_relay_worker.demo import run_demo, run_live_demo

    if live_address is not None:
        sys.exit(run_live_demo(live_address))
    sys.exit(run_demo(customers))
