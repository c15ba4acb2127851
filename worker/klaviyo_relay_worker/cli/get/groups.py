"""`klaviyo-relay get lists`, `segments` and what is about one of them."""

from __future__ import annotations

import click

from klaviyo_relay_worker.cli.get.columns import LISTS
from klaviyo_relay_worker.cli.get.desk import Desk
from klaviyo_relay_worker.cli.get.verb import Listing


@click.command(cls=Listing)
def lists(desk: Desk) -> None:
    r"""All lists.

    \b
    Example:
      klaviyo-relay get lists
    """
    desk.show(desk.reader.lists.all(), LISTS, can_go_on=False)
