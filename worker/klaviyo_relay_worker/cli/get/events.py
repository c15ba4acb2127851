"""`klaviyo-relay get events`: a timeline, as it is or as it grows."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from klaviyo_relay.errors import RelayError
from klaviyo_relay_worker.cli.get.columns import EVENTS
from klaviyo_relay_worker.cli.get.desk import Desk
from klaviyo_relay_worker.cli.get.verb import LongListing
from klaviyo_relay_worker.cli.get.whom import profile_id_of, profile_options
from klaviyo_relay_worker.cli.words import sentence

if TYPE_CHECKING:
    from klaviyo_relay_worker.klaviyo import Event, Pages

_FOLLOWED_FROM = 10


class Timeline:
    """Whose events.

    Args:
        desk: to read at.
        profile_id, email: of which profile.
        metric_id, metric: of which metric.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        profile_id: str | None,
        email: str | None,
        metric_id: str | None,
        metric: str | None,
    ) -> None:
        self._desk = desk
        self._profile = (profile_id, email)
        self._metric_id, self._metric = metric_id, metric

    def read(self, **more: Any) -> Pages[Event]:
        """Its events; `more` goes to `Events.all`."""
        return self._desk.reader.events.all(
            profile_id=self._profile_id, metric_id=self._metric_id, metric=self._metric, **more
        )

    @cached_property
    def _profile_id(self) -> str | None:
        """Asked for once, however often the events are read."""
        return profile_id_of(self._desk.reader, *self._profile)


@click.command(cls=LongListing)
@profile_options
@click.option("--metric", metavar="NAME", help="only of this metric")
@click.option("--metric-id", metavar="ID", help="only of this metric")
@click.option("--since", metavar="TIME", help="only at this time or later")
@click.option("--until", metavar="TIME", help="only before this time")
@click.option("--sort", type=click.Choice(["desc", "asc"]), help="newest or oldest first")
@click.option("--follow", is_flag=True, help="go on with what comes, until Ctrl-C")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="with --follow: from look to look",
)
@click.option(
    "--window",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="with --follow: how much later than others an event may become readable",
)
def events(
    desk: Desk,
    *,
    follow: bool,
    interval: float,
    window: float,
    since: str | None,
    until: str | None,
    sort: str | None,
    **timeline: str | None,
) -> None:
    r"""Events: of a profile, of a metric, of both, or all; newest first.

    With --follow the newest ten (or --count) oldest first, and then those that come.
    TIME is 2026-01-31, at midnight UTC, or 2026-01-31T12:00:00Z.

    \b
    Examples:
      klaviyo-relay get events --email ada@lovelace.dev --count 20
      klaviyo-relay get events --metric "Placed Order" --follow
    """
    of = Timeline(desk, **timeline)
    given = {"since": since, "until": until, "sort": sort}
    if follow:
        _refuse({**given, "cursor": desk.cursor})
        _follow(desk, of, interval, window)
        return
    more = {"since": since, "until": until, "sort": sort or "desc"}
    desk.show(of.read(**more, count=desk.count, cursor=desk.cursor), EVENTS)


def _refuse(given: dict[str, str | None]) -> None:
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"--{name}: not with --follow, which goes on from the newest")


def _follow(desk: Desk, of: Timeline, interval: float, window: float) -> None:
    from klaviyo_relay_worker.cli.get.follow import Follower

    if desk.patience is None:
        # So that an outage is told soon; the next look waits on.
        desk.patience = interval
    follower = Follower(
        of.read,
        window=timedelta(seconds=window),
        interval=interval,
        tell=_tell,
    )
    with suppress(KeyboardInterrupt):
        desk.stream(follower.batches(desk.count or _FOLLOWED_FROM), EVENTS)


def _tell(error: RelayError) -> None:
    click.echo(f"klaviyo-relay: {sentence(error)}; looks again until it is over", err=True)
