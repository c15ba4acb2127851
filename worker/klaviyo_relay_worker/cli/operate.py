"""`klaviyo-relay status`, `check` and `spool`: seeing what is where, and what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import click
import msgspec
from redis.exceptions import RedisError

from klaviyo_relay import validation
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.marks import Marks
from klaviyo_relay.orphans import ship_orphans
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay_worker.app import check_broker_answers
from klaviyo_relay_worker.checkup import check_redis, check_spool
from klaviyo_relay_worker.key_checkup import check_keys
from klaviyo_relay_worker.redis_checkup import check_persistence
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status, spool_report, state_of
from klaviyo_relay_worker.work_checkup import check_work

WATCH_SECONDS = 1.0
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

    Exit code 0 if they do; 1 if a command is lost or in surplus (which must never be), or Redis
    does not answer. --watch goes on while Redis is away, and prints with --json a document a line.

    \b
    Example:
      klaviyo-relay status --json
    """
    settings = Settings.from_env()
    redis = connect(settings.redis_url)
    entrance = LaneEntrance(redis, settings.keys, settings.lane_max_bytes)

    def look() -> dict[str, Any]:
        report = Status(redis, settings.keys).report(audits=audit)
        return {**report, "spool": spool_report(settings, entrance)}

    report = _watched(look, as_json=as_json) if watch else _shown(look(), as_json=as_json)
    raise SystemExit(1 if report["lost"] or report["surplus"] else 0)


def _shown(report: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    click.echo(json.dumps(report) if as_json else _table(report))
    return report


def _watched(look: Callable[[], dict[str, Any]], *, as_json: bool) -> dict[str, Any]:
    """Show it again and again until Ctrl-C; returns the last report."""
    report: dict[str, Any] = {"lost": 0, "surplus": 0}
    try:
        while True:
            try:
                found = look()
            except RedisError as error:
                click.echo(f"Redis does not answer: {error}", err=True)
            else:
                # Does nothing where standard output is no terminal.
                click.clear()
                report = _shown(found, as_json=as_json)
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return report


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'lane':24}" + "".join(f"{name:>11}" for name in _COLUMNS) + "  oldest  state"]
    for account, found in sorted(report["accounts"].items()):
        for lane, numbers in sorted(found["lanes"].items()):
            row = "".join(f"{numbers[name]:>11,}" for name in _COLUMNS)
            age = f"{numbers['oldest_seconds']:>6.0f}s"
            lines.append(f"{account + ':' + lane:24}{row} {age}  {_state(numbers)}")
    spooled = report["spool"]
    lines.append(f"spool on this machine: {spooled['pending']:,} pending{_unreadable(spooled)}")
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
    word, why = state_of(numbers)
    text = f"{word}: {why}" if why else word
    return f"{text} (breaker {numbers['breaker']})" if word == "waits" else text


_MARKS = {"ok": "  ok     ", "warning": "  WARNING", "fault": "  FAULT  "}


@click.command()
@click.option("--list-id", "list_ids", multiple=True, help="a list that must exist; repeatable")
@click.option("--json", "as_json", is_flag=True, help="one JSON document a finding")
def check(list_ids: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    r"""Look at spool, Redis, broker, workers, lanes and API keys; say how to mend what is wrong.

    Reads at Klaviyo, and writes nothing anywhere. Exit code 0 if nothing is wrong, 1 with a fault,
    3 with warnings alone, 2 for wrong usage or settings.

    \b
    Example:
      klaviyo-relay check --list-id Xyz123
    """
    settings = Settings.from_env()
    worker = WorkerSettings.from_env()
    for list_id in list_ids:
        _check_form(list_id)
    redis = connect(settings.redis_url)
    levels = []
    for finding in chain(
        check_spool(settings),
        check_redis(redis, settings),
        check_persistence(redis),
        check_broker_answers(worker),
        check_work(redis, settings.keys),
        check_keys(worker, list_ids),
    ):
        levels.append(finding.level)
        line = f"{_MARKS[finding.level]}  {finding.subject}: {finding.text}"
        click.echo(msgspec.json.encode(finding).decode() if as_json else line)
    raise SystemExit(1 if "fault" in levels else 3 if "warning" in levels else 0)


def _check_form(list_id: str) -> None:
    try:
        validation.list_id("--list-id", list_id)
    except InvalidCommandError as error:
        raise click.UsageError(str(error)) from None


@click.group()
def spool() -> None:
    r"""The commands on this machine's disk.

    \b
    Example:
      klaviyo-relay spool status
    """


@spool.command("status")
def spool_status() -> None:
    r"""How many commands wait on this machine, as JSON; works without Redis too.

    Without Redis, what it may have got already counts, too. Exit code 0.

    \b
    Example:
      klaviyo-relay spool status
    """
    settings = Settings.from_env()
    marks = Marks(connect(settings.redis_url), settings.keys)
    try:
        report = spool_report(settings, marks)
    except RedisError:
        report = spool_report(settings, None)
    click.echo(json.dumps({"directory": str(settings.spool_directory), **report}))


@spool.command("flush")
def spool_flush() -> None:
    r"""Ship what processes of this machine left behind: after a crash, before a shutdown.

    Exit code 0 if nothing is left, 1 otherwise, or if files of another user may not be opened.

    \b
    Example:
      klaviyo-relay spool flush
    """
    settings = Settings.from_env()
    entrance = LaneEntrance(connect(settings.redis_url), settings.keys, settings.lane_max_bytes)
    files = ship_orphans(entrance, settings)
    report = spool_report(settings, entrance)
    left = f"{report['pending']} commands left{_unreadable(report)}"
    click.echo(f"{files} files looked at, {left} ({masked(settings.redis_url)})")
    raise SystemExit(1 if report["pending"] or report["unreadable"] else 0)


def _unreadable(report: dict[str, int]) -> str:
    files = report["unreadable"]
    return f", {files} {'file' if files == 1 else 'files'} of another user" if files else ""
