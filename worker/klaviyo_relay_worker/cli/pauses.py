"""`klaviyo-relay pause` and `resume`: stop deliveries of an account or a lane; let them go on."""

from __future__ import annotations

import click

from klaviyo_relay.lane_entrance import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.pauses import Pauses

_lane_option = click.option("--lane", help="only this lane, such as events or events:bulk")


def _pauses() -> Pauses:
    settings = Settings.from_env()
    return Pauses(connect(settings.redis_url), settings.keys)


@click.command()
@click.argument("account")
@_lane_option
def pause(account: str, lane: str | None) -> None:
    r"""Deliver nothing of an account, or of one of its lanes, until somebody says resume.

    What is in flight is finished. Commands are accepted as ever and wait.

    \b
    Example:
      klaviyo-relay pause default --lane events:bulk
    """
    _pauses().pause(account, lane)
    click.echo(f"{account}{':' + lane if lane else ''} is paused")


@click.command()
@click.argument("account")
@_lane_option
def resume(account: str, lane: str | None) -> None:
    r"""Go on delivering: ends every pause, Klaviyo's or a person's, and every wait.

    \b
    Example:
      klaviyo-relay resume default
    """
    _pauses().resume(account, lane)
    click.echo(f"{account}{':' + lane if lane else ''} goes on")
