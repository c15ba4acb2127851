"""`klaviyo-relay dead`: the dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from klaviyo_relay.lane_entrance import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.journal import JournalRoom
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status


@click.group()
def dead() -> None:
    """Commands that Klaviyo refused for good: look at them, send them again, or let them go."""


def _open() -> tuple[DeadLetters, list[str]]:
    settings = Settings.from_env()
    redis = connect(settings.redis_url)
    room = JournalRoom(redis, WorkerSettings.from_env().journal_ids).bytes()
    return DeadLetters(redis, settings.keys, journal_bytes=room), Status(
        redis, settings.keys
    ).lanes()


def _wanted(letters: Iterable[DeadLetter], lane: str | None) -> list[DeadLetter]:
    chosen = [
        one for one in letters if lane is None or lane in (one.lane, one.lane.partition(":")[2])
    ]
    return sorted(chosen, key=lambda one: one.dead_at)


_lane_option = click.option("--lane", help="only this lane, such as events or default:events")


@dead.command("list")
@_lane_option
@click.option("--json", "as_json", is_flag=True, help="one JSON document a line, without payloads")
def dead_list(lane: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """All dead letters, oldest first. Payloads are private: see `dead show ID`."""
    letters, lanes = _open()
    for one in _wanted(letters.all(lanes), lane):
        click.echo(json.dumps(_summary(one)) if as_json else _line(one))


@dead.command("show")
@click.argument("identity", metavar="ID")
def dead_show(identity: str) -> None:
    """One dead letter with its payload, as JSON."""
    letters, lanes = _open()
    found = letters.find(lanes, identity)
    if found is None:
        raise click.ClickException(f"{identity} is not a dead letter")
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


def _chosen(identities: tuple[str, ...], lane: str | None, *, every: bool) -> list[DeadLetter]:
    letters, lanes = _open()
    if not identities and not every:
        raise click.UsageError("give ids, or --all (with --lane if you like)")
    found = _wanted(letters.all(lanes), lane)
    if every:
        return found
    missing = set(identities) - {one.id for one in found}
    if missing:
        raise click.ClickException(f"not dead letters: {', '.join(sorted(missing))}")
    return [one for one in found if one.id in identities]


@dead.command("redrive")
@click.argument("identities", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="every dead letter")
@_lane_option
@click.option("--dry-run", is_flag=True, help="only say how many")
def dead_redrive(identities: tuple[str, ...], every: bool, lane: str | None, dry_run: bool) -> None:  # noqa: FBT001
    r"""Put dead letters back into their lane, for instance after the fault at Klaviyo is mended.

    \b
    Example:
      klaviyo-relay dead redrive --all --lane events
    """
    chosen = _chosen(identities, lane, every=every)
    if dry_run:
        click.echo(f"{len(chosen)} would be redriven")
        return
    moved = _open()[0].redrive(chosen)
    click.echo(f"{moved} redriven")
    unreadable = len(chosen) - moved
    if unreadable:
        click.echo(f"{unreadable} cannot be sent as they are; see `dead show`", err=True)


@dead.command("discard")
@click.argument("identities", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="every dead letter")
@_lane_option
@click.option("--dry-run", is_flag=True, help="only say how many")
@click.confirmation_option("--yes", prompt="Delete them for good?")
def dead_discard(identities: tuple[str, ...], every: bool, lane: str | None, dry_run: bool) -> None:  # noqa: FBT001
    """Delete dead letters for good; they count as discarded."""
    chosen = _chosen(identities, lane, every=every)
    if dry_run:
        click.echo(f"{len(chosen)} would be discarded")
        return
    click.echo(f"{_open()[0].discard(chosen)} discarded")


def _summary(one: DeadLetter) -> dict[str, Any]:
    return {
        "id": one.id,
        "lane": one.lane,
        "verb": one.verb,
        "dead_at": datetime.fromtimestamp(one.dead_at, UTC).isoformat(timespec="seconds"),
        "attempts": one.attempts,
        **msgspec.to_builtins(one.failure),
    }


def _line(one: DeadLetter) -> str:
    when = datetime.fromtimestamp(one.dead_at, UTC).isoformat(timespec="seconds")
    failure = one.failure
    reason = failure.detail or failure.title
    return (
        f"{one.id}  {when}  {one.lane:20} {one.verb:18} {failure.status or '-':>3}"
        f" {failure.code}: {reason}"
    )
