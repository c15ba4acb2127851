"""`klaviyo-relay forget`: erase a person at Klaviyo and in every lane."""

from __future__ import annotations

import time

import click

from klaviyo_relay.commands import DeleteProfile
from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.producer import Producer
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.cli.field_help import ACCOUNT_HELP
from klaviyo_relay_worker.erasure import Erasure
from klaviyo_relay_worker.plan.privacy import identity_of
from klaviyo_relay_worker.pseudonyms import Pseudonyms
from klaviyo_relay_worker.tombstones import Tombstones

_FLUSH_SECONDS = 5.0


@click.command()
@click.option("--email", help="e-mail address")
@click.option("--phone-number", help="number in E.164 form")
@click.option("--profile-id", help="Klaviyo's id of the profile")
@click.option("--account", default=DEFAULT_ACCOUNT, show_default=True, help=ACCOUNT_HELP)
def forget(
    email: str | None, phone_number: str | None, profile_id: str | None, account: str
) -> None:
    r"""Delete a person at Klaviyo, and take their older commands out of all lanes.

    Give exactly one identifier. Commands that still wait in a spool are dropped when they come in.

    \b
    Example:
      klaviyo-relay forget --email ada@example.org
    """
    try:
        command = DeleteProfile(email=email, phone_number=phone_number, profile_id=profile_id)
    except InvalidCommandError as error:
        raise click.UsageError(str(error)) from None
    at = time.time_ns() // 1_000_000
    with_thread = Producer()
    identity = with_thread.enqueue(command, account=account)
    left = with_thread.close(_FLUSH_SECONDS).left
    click.echo(identity)
    if left:
        directory = with_thread.settings.spool_directory
        click.echo(f"Redis does not answer; the deletion waits in {directory}", err=True)
        return
    purged = _purge(with_thread.settings, account, command, at)
    click.echo(f"{purged} older commands purged; what a planner has in hand follows")


def _purge(settings: Settings, account: str, command: DeleteProfile, at: int) -> int:
    """What the privacy lane's planner will do, too; here so that the person sees it done."""
    redis, keys = connect(settings.redis_url), settings.keys
    who = identity_of(command)
    tombstones = Tombstones(redis, keys, account, Pseudonyms(redis, keys))
    erasure = Erasure(redis, keys, account)
    tombstones.plant(who, at)
    stone = tombstones.find([who])[who]
    if stone.awaits is None:
        tombstones.wait_for(who, stone.at, erasure.planners())
    return erasure.purge(tombstones.find([who]))
