"""`klaviyo-relay pause` and `resume`: stop deliveries of an account or a lane; let them go on."""

from __future__ import annotations

import json

import click

from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.pauses import Pauses

_lane_option = click.option("--lane", help="only this lane, such as events or events:bulk")
_json_option = click.option("--json", "as_json", is_flag=True, help="one JSON document")


def _pauses() -> Pauses:
    settings = Settings.from_env()
    return Pauses(connect(settings.redis_url), settings.keys)


@click.command()
@click.argument("account")
@_lane_option
@_json_option
def pause(account: str, lane: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    r"""Deliver nothing of an account, or of one of its lanes, until somebody says resume.

    What is in flight is finished. Commands are accepted as ever and wait. Exit code 0 if it is
    paused (again), 1 if there is no such account or lane, or Redis does not answer.

    \b
    Example:
      klaviyo-relay pause default --lane events:bulk
    """
    _pauses().pause(account, lane)
    _say(account, lane, "is paused", as_json=as_json)


@click.command()
@click.argument("account")
@_lane_option
@_json_option
def resume(account: str, lane: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    r"""Go on delivering: ends every pause, Klaviyo's or a person's, and every wait.

    A pause of the whole account ends with --lane, too. Exit codes as those of pause.

    \b
    Example:
      klaviyo-relay resume default
    """
    _pauses().resume(account, lane)
    _say(account, lane, "goes on", as_json=as_json)


def _say(account: str, lane: str | None, what: str, *, as_json: bool) -> None:
    if as_json:
        is_paused = what == "is paused"
        click.echo(json.dumps({"account": account, "lane": lane, "paused": is_paused}))
        return
    click.echo(f"{account}{':' + lane if lane else ''} {what}")
