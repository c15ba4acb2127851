"""`klaviyo-relay get …`: what Klaviyo knows, on the command line."""

from __future__ import annotations

import click

from klaviyo_relay_worker.cli.get.events import events
from klaviyo_relay_worker.cli.get.groups import lists


@click.group()
def get() -> None:
    """What Klaviyo knows: profiles, events, metrics, lists, segments.

    These verbs print personal data on purpose: mind where it goes. Exit codes: 0 done, 1 failed or
    not found, 2 wrong usage.
    """


for verb in (
    events,
    lists,
):
    get.add_command(verb)
