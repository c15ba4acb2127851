"""What the demonstration does and says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from redis import Redis

from klaviyo_relay import validation
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.producer import Producer
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.demo.purchases import (
    Purchase,
    address,
    loyal_customers,
    plus_address,
    purchases,
)
from klaviyo_relay_worker.demo.stage import Sandboxed, sandbox_process, worker_process
from klaviyo_relay_worker.embedded import PrivateRedis, PrivateRedisError, find_server
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status

LIST_NAME = "VIP"
LIVE_CUSTOMERS = 5
# More than Klaviyo's limits need for all of it, on a slow machine.
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 0.25
_PLACES = ("delivered", "dead", "dropped", "discarded", "backlog", "parked", "following")


def _check_server() -> None:
    """Say politely what is to be installed.

    Raises:
        ConfigurationError: there is no server that could be the private Redis.
    """
    try:
        find_server()
    except PrivateRedisError as error:
        raise ConfigurationError([str(error)]) from None


def run_demo(customers: int | None) -> int:
    """Deliver the history to a sandbox; returns the exit code.

    Raises:
        ConfigurationError: there is no server that could be the private Redis.
    """
    _check_server()
    history = purchases(customers)
    with tempfile.TemporaryDirectory(prefix="klaviyo-relay-demo-") as name:
        home = Path(name)
        with (
            PrivateRedis(home / "redis") as server,
            sandbox_process(home / "sandbox.log") as klaviyo,
        ):
            click.echo(
                f"Redis     {server.server.product} {server.version}, private, append-only file"
            )
            click.echo(f"Klaviyo   a sandbox with Klaviyo's real rate limits, {klaviyo.url}")
            environment = {
                "KLAVIYO_RELAY_REDIS_URL": server.url,
                "KLAVIYO_API_URL": klaviyo.url,
                "KLAVIYO_API_KEY": "pk_demo",
            }
            settings = Settings(redis_url=server.url, spool_dir=home / "spool")
            with worker_process(environment, home / "worker.log") as worker:
                click.echo(f"Worker    Celery, pid {worker.pid}")
                report = _deliver(settings, history, address, worker, klaviyo)
                return _verdict(report, history, klaviyo, home / "worker.log")


def run_live_demo(own: str) -> int:
    """Deliver a handful of customers to Klaviyo itself; returns the exit code.

    Raises:
        ConfigurationError: as `run_demo`.
        InvalidCommandError: `own` is no e-mail address.
    """
    _check_server()
    own = validation.email("--live", own)
    live = WorkerSettings.from_env()
    if "default" not in live.api_keys:
        click.echo("--live needs KLAVIYO_API_KEY, a private key of your Klaviyo account", err=True)
        return 2
    history = purchases(LIVE_CUSTOMERS)
    example = plus_address(own, history[0].customer)
    click.echo(
        f"This sends {LIVE_CUSTOMERS} profiles like {example}, {len(history)} events (stored as"
        f" backfill, so they set off no flows) and a list named {LIST_NAME} to {live.api_url}."
    )
    if not click.confirm("Send them?"):
        click.echo("Nothing was sent.")
        return 1
    with tempfile.TemporaryDirectory(prefix="klaviyo-relay-demo-") as name:
        home = Path(name)
        with PrivateRedis(home / "redis") as server:
            settings = Settings(redis_url=server.url, spool_dir=home / "spool")
            environment = {"KLAVIYO_RELAY_REDIS_URL": server.url}
            with worker_process(environment, home / "worker.log") as worker:
                report = _deliver(settings, history, _own_addresses(own), worker, None)
                return _live_verdict(report, home / "worker.log")


def _own_addresses(own: str) -> Callable[[str], str]:
    return lambda customer: plus_address(own, customer)


def _deliver(
    settings: Settings,
    history: list[Purchase],
    address_of: Callable[[str], str],
    worker: subprocess.Popen[bytes],
    klaviyo: Sandboxed | None,
) -> dict[str, Any]:
    began = time.monotonic()
    accepted = _say_it_all(settings, history, address_of, is_live=klaviyo is None)
    took = time.monotonic() - began
    click.echo(f"Accepted  {accepted:,} commands, on disk, in {took:.2f} s\n")
    redis = connect(settings.redis_url)
    try:
        report = _watch(redis, settings, accepted, worker)
    finally:
        redis.close()
    report["seconds"] = time.monotonic() - began
    return report


def _say_it_all(
    settings: Settings,
    history: list[Purchase],
    address_of: Callable[[str], str],
    *,
    is_live: bool,
) -> int:
    """What an application would do: a verb for each fact, and on."""
    klaviyo = Producer(settings)
    klaviyo.create_list(LIST_NAME)
    customers = sorted({one.customer for one in history})
    for customer in customers:
        klaviyo.identify(email=address_of(customer), properties={"cdnow_customer": customer})
    for one in history:
        klaviyo.track(
            "Placed Order",
            email=address_of(one.customer),
            value=one.dollars,
            value_currency="USD",
            time=one.at,
            properties={"discs": one.discs},
            backfill=is_live or None,
        )
    loyal = loyal_customers(history)
    for customer in loyal:
        klaviyo.add_to_list(list_name=LIST_NAME, email=address_of(customer))
    klaviyo.close(PATIENCE_SECONDS)
    return 1 + len(customers) + len(history) + len(loyal)


def _watch(
    redis: Redis, settings: Settings, accepted: int, worker: subprocess.Popen[bytes]
) -> dict[str, Any]:
    """Show the progress until every command is at an end, or patience is."""
    status = Status(redis, settings.keys)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        report = status.report()
        totals = _totals(report)
        done = sum(totals[place] for place in ("delivered", "dead", "dropped", "discarded"))
        _progress(done, accepted, totals, is_last=done >= accepted)
        if done >= accepted or time.monotonic() > until or worker.poll() is not None:
            return report
        time.sleep(LOOK_SECONDS)


def _totals(report: dict[str, Any]) -> dict[str, int]:
    lanes = [lane for account in report["accounts"].values() for lane in account["lanes"].values()]
    return {name: sum(lane[name] for lane in lanes) for name in ("accepted", *_PLACES)}


def _progress(done: int, accepted: int, totals: dict[str, int], *, is_last: bool) -> None:
    width = min(40, max(10, shutil.get_terminal_size().columns - 50))
    filled = width * done // max(1, accepted)
    bar = "#" * filled + "." * (width - filled)
    line = f"[{bar}] {done:,}/{accepted:,} delivered, {totals['following']:,} in import jobs"
    if sys.stdout.isatty():
        click.echo(f"\r{line}\x1b[K", nl=is_last)
    elif is_last or done:
        click.echo(line)


def _verdict(
    report: dict[str, Any], history: list[Purchase], klaviyo: Sandboxed, worker_log: Path
) -> int:
    summary = klaviyo.summary()
    arrivals = _arrivals(summary, history)
    click.echo("\nWhat arrived at Klaviyo")
    for name, (arrived, sent) in arrivals.items():
        click.echo(f"  {arrived:>6,} of {sent:,} {name}")
    _say_requests(summary)
    click.echo(f"  {report['seconds']:>6.1f} seconds from the first call to the last delivery\n")
    _equation(report)
    has_arrived = all(arrived == sent for arrived, sent in arrivals.values())
    if has_arrived and report["lost"] == 0:
        return 0
    click.echo("\nNot all of it arrived. The end of the worker's log:", err=True)
    _tail(worker_log)
    return 1


def _arrivals(summary: dict[str, Any], history: list[Purchase]) -> dict[str, tuple[int, int]]:
    """What -> how many the sandbox has, and how many it should have."""
    members = sum(one["members"] for one in summary["lists"].values() if one["name"] == LIST_NAME)
    return {
        "events": (summary["events"], len(history)),
        "profiles": (summary["profiles"], len({one.customer for one in history})),
        f"members of {LIST_NAME}": (members, len(loyal_customers(history))),
    }


def _say_requests(summary: dict[str, Any]) -> None:
    requests = {
        name: sum(by_status.values()) for name, by_status in sorted(summary["requests"].items())
    }
    total, throttled = sum(requests.values()), summary["throttled"]
    click.echo(f"  {total:>6,} requests, {throttled} of them answered 429")
    for name, count in requests.items():
        click.echo(f"  {count:>10,} {name}")


def _live_verdict(report: dict[str, Any], worker_log: Path) -> int:
    _equation(report)
    totals = _totals(report)
    click.echo(f"{report['seconds']:.1f} seconds. Klaviyo shows events a minute or two later.")
    if totals["delivered"] == totals["accepted"]:
        return 0
    click.echo("\nNot all of it was delivered. The end of the worker's log:", err=True)
    _tail(worker_log)
    return 1


def _equation(report: dict[str, Any]) -> None:
    totals = _totals(report)
    terms = " + ".join(f"{totals[place]:,} {place}" for place in _PLACES)
    click.echo(f"{totals['accepted']:,} accepted = {terms}")
    click.echo(f"lost: {report['lost']}")


def _tail(log: Path, lines: int = 15) -> None:
    text = log.read_text("utf-8", "replace").splitlines()[-lines:]
    click.echo(os.linesep.join(text), err=True)
