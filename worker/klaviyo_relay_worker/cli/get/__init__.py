"""`klaviyo-relay get …`: what Klaviyo knows, on the command line."""

from __future__ import annotations

import click

from klaviyo_relay_worker.cli.get.events import events
from klaviyo_relay_worker.cli.get.groups import (
    exclusions,
    lists,
    members,
    one_list,
    one_segment,
    segments,
    subscribers,
)
from klaviyo_relay_worker.cli.get.metrics import aggregate, metrics
from klaviyo_relay_worker.cli.get.profiles import (
    lists_of,
    profile,
    profile_id,
    profiles,
    suppressed,
)


@click.group()
def get() -> None:
    """What Klaviyo knows: profiles, events, metrics, lists, segments.

    These verbs print personal data on purpose: mind where it goes. Exit codes: 0 done, 1 failed or
    not found, 2 wrong usage.
    """


for verb in (
    profile,
    profile_id,
    profiles,
    suppressed,
    events,
    metrics,
    aggregate,
    lists,
    one_list,
    lists_of,
    members,
    subscribers,
    exclusions,
    segments,
    one_segment,
):
    get.add_command(verb)
