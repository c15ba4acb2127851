"""`klaviyo-relay get metrics`, and `get aggregate`: their numbers over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from klaviyo_relay_worker.cli.get.columns import METRICS, members
from klaviyo_relay_worker.cli.get.desk import Desk
from klaviyo_relay_worker.cli.get.verb import Listing

if TYPE_CHECKING:
    from klaviyo_relay_worker.klaviyo import Aggregate

_MEASUREMENTS = ("count", "unique", "sum_value")


@click.command(cls=Listing)
def metrics(desk: Desk) -> None:
    r"""All metrics.

    \b
    Example:
      klaviyo-relay get metrics
    """
    desk.show(desk.reader.metrics.all(), METRICS, can_go_on=False)


def _conditions(
    _context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in given:
        dimension, equals, value = one.partition("=")
        if not (dimension and equals):
            raise click.BadParameter("must be DIMENSION=VALUE", param=option)
        found.setdefault(dimension, []).append(value)
    return found


@click.command(cls=Listing)
@click.option("--metric", metavar="NAME", help="which")
@click.option("--metric-id", metavar="ID", help="which")
@click.option("--start", metavar="TIME", required=True, help="from when")
@click.option("--end", metavar="TIME", required=True, help="until before when")
@click.option(
    "--measurement",
    "measurements",
    type=click.Choice(_MEASUREMENTS),
    multiple=True,
    default=["count"],
    show_default=True,
    help="events, profiles, or the values' sum; repeatable",
)
@click.option(
    "--interval",
    type=click.Choice(["hour", "day", "week", "month"]),
    default="day",
    show_default=True,
    help="one number for each",
)
@click.option("--by", multiple=True, metavar="DIMENSION", help="a row each; repeatable")
@click.option(
    "--where",
    multiple=True,
    callback=_conditions,
    metavar="DIMENSION=VALUE",
    help="only these; with one dimension twice, either value",
)
@click.option(
    "--time-zone",
    "timezone",
    metavar="ZONE",
    default="UTC",
    show_default=True,
    help="in which days begin, e.g. Europe/Berlin",
)
def aggregate(desk: Desk, **given: Any) -> None:
    r"""Numbers of a metric over time, in groups if you like.

    A row for each group and interval; with --json one document. --count limits the groups.
    TIME is 2026-01-31, at midnight UTC, or 2026-01-31T12:00:00Z.

    \b
    Example:
      klaviyo-relay get aggregate --metric "Placed Order" --start 2026-01-01 --end 2026-02-01
    """
    found = desk.reader.metrics.aggregate(**given, count=desk.count)
    columns = members("date", *found.by, *given["measurements"])
    desk.show_numbers(found, _rows(found), columns)


def _rows(found: Aggregate) -> Iterator[dict[str, object]]:
    for row in found.rows:
        groups = dict(zip(found.by, row.dimensions, strict=False))
        for at, date in enumerate(found.dates):
            numbers = {name: values[at] for name, values in row.measurements.items()}
            yield {"date": date, **groups, **numbers}
