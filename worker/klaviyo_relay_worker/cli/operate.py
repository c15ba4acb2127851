"""`klaviyo-relay status` and `spool`: seeing what is where."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click
import msgspec
from redis.exceptions import RedisError

from klaviyo_relay.lane_entrance import LaneEntrance, connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.shipper import ship_orphans
from klaviyo_relay_worker.checkup import check_broker, check_keys, check_redis, check_spool
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status, spool_report

_COLUMNS = (
    "accepted",
    "delivered",
    "dead",
    "dropped",
    "discarded",
    "backlog",
    "parked",
    "following",
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON document")
@click.option("--watch", is_flag=True, help="again every second, until Ctrl-C")
@click.option("--audit", is_flag=True, help="look at the ids of large lanes, too")
def status(as_json: bool, watch: bool, audit: bool) -> None:  # noqa: FBT001 - click passes flags by name
    r"""What is where: every lane with its commands, and whether the numbers add up.

    Exit code 1 if a command is lost or in surplus (which must never be).

    \b
    Example:
      klaviyo-relay status --json
    """
    settings = Settings.from_env()
    redis = connect(settings.redis_url)
    while True:
        report = Status(redis, settings.keys).report(audits=audit)
        entrance = LaneEntrance(redis, settings.keys, settings.lane_max_bytes)
        report["spool"] = spool_report(settings, entrance)
        click.echo(json.dumps(report) if as_json else _table(report))
        if not watch:
            break
        time.sleep(1.0)
    raise SystemExit(1 if report["lost"] or report["surplus"] else 0)


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'lane':24}" + "".join(f"{name:>11}" for name in _COLUMNS) + "  oldest  state"]
    for account, found in sorted(report["accounts"].items()):
        for lane, numbers in sorted(found["lanes"].items()):
            row = "".join(f"{numbers[name]:>11,}" for name in _COLUMNS)
            age = f"{numbers['oldest_seconds']:>6.0f}s"
            lines.append(f"{account + ':' + lane:24}{row} {age}  {_state(numbers)}")
    spooled = report["spool"]
    lines.append(f"spool on this machine: {spooled['pending']:,} pending")
    lines.append(f"lost: {report['lost']}, surplus: {report['surplus']}")
    lines += [f"{name}: {text}" for name, text in _unchecked(report)]
    return "\n".join(lines)


_UNCHECKED = {
    "counts": "checked by its counts alone; see --audit",
    "busy": "too busy for an audit: it changed all the while",
}


def _unchecked(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for account, found in sorted(report["accounts"].items()):
        for lane, numbers in sorted(found["lanes"].items()):
            if numbers["checked"] in _UNCHECKED:
                yield f"{account}:{lane}", _UNCHECKED[numbers["checked"]]


def _state(numbers: dict[str, Any]) -> str:
    if numbers["paused"]:
        return f"paused: {numbers['paused_because']}"
    if numbers["waits_for"]:
        return f"waits: {numbers['waits_for']} (breaker {numbers['breaker']})"
    return "delivering" if numbers["in_delivery"] else "idle"


_MARKS = {"ok": "  ok     ", "warning": "  WARNING", "fault": "  FAULT  "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON document a finding")
def check(as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Look at settings, spool, Redis and API keys; each finding says how to mend it.

    Exit code 0 if nothing is wrong, 1 with warnings, 2 with faults.
    """
    settings = Settings.from_env()
    worker = WorkerSettings.from_env()
    redis = connect(settings.redis_url)
    levels = []
    findings = chain(
        check_spool(settings),
        check_redis(redis, settings),
        check_broker(worker),
        check_keys(worker),
    )
    for finding in findings:
        levels.append(finding.level)
        line = f"{_MARKS[finding.level]}  {finding.subject}: {finding.text}"
        click.echo(msgspec.json.encode(finding).decode() if as_json else line)
    raise SystemExit(2 if "fault" in levels else 1 if "warning" in levels else 0)


@click.group()
def spool() -> None:
    """The commands on this machine's disk."""


@spool.command("status")
def spool_status() -> None:
    """How many commands wait on this machine, as JSON; works without Redis too."""
    settings = Settings.from_env()
    entrance: LaneEntrance | None = LaneEntrance(connect(settings.redis_url), settings.keys, 1)
    try:
        report = spool_report(settings, entrance)
    except RedisError:
        report = spool_report(settings, None)
    click.echo(json.dumps({"directory": str(settings.spool_directory), **report}))


@spool.command("flush")
def spool_flush() -> None:
    """Ship what processes of this machine left behind: after a crash, before a shutdown."""
    settings = Settings.from_env()
    entrance = LaneEntrance(connect(settings.redis_url), settings.keys, settings.lane_max_bytes)
    files = ship_orphans(entrance, settings)
    left = spool_report(settings, entrance)["pending"]
    click.echo(f"{files} files looked at, {left} commands left ({masked(settings.redis_url)})")
    raise SystemExit(1 if left else 0)
