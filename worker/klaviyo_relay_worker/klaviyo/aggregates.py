"""Metric aggregates: what the retired API called a metric's export.

Source of intervals, measurements and dimensions: MetricAggregateQuery of the OpenAPI document,
revision 2026-07-15.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import InvalidArgumentError
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.arguments import among, several
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.resources import time_of

Measurement = Literal["count", "sum_value", "unique"]
Interval = Literal["hour", "day", "week", "month"]
MEASUREMENTS: tuple[str, ...] = get_args(Measurement)
INTERVALS: tuple[str, ...] = get_args(Interval)
DIMENSIONS = frozenset(
    (
        "$attributed_channel", "$attributed_flow", "$attributed_message", "$attributed_variation",
        "$campaign_channel", "$flow", "$flow_channel", "$message", "$message_send_cohort",
        "$usage_amount", "$value_currency", "$variation", "$variation_send_cohort", "Bot Click",
        "Bounce Type", "Campaign Name", "Client Canonical", "Client Name", "Client Type",
        "Email Domain", "Failure Source", "Failure Type", "From Number", "From Phone Region",
        "Inbox Provider", "List", "Message Format", "Message Name", "Message Type", "Method",
        "Segment Count", "Subject", "To Number", "To Phone Region", "URL", "form_id",
    )
)  # fmt: skip


class AggregateRow(Struct, frozen=True):
    """The numbers of one group.

    Attributes:
        dimensions: what it was grouped by, in the order of `by`; empty where it was not.
        measurements: measurement -> one number for each of the dates.
    """

    dimensions: tuple[str, ...]
    measurements: dict[str, list[float]]

    def total(self, measurement: Measurement = "count") -> float:
        """All dates together; for "unique" a sum of uniques, which counts nobody twice a date."""
        return sum(self.measurements.get(measurement, ()))


class Aggregate(Struct, frozen=True):
    """A metric's numbers over time.

    Attributes:
        metric_id: of which.
        by: what the rows are grouped by.
        dates: the beginning of each interval.
        rows: one a group.
    """

    metric_id: str
    by: tuple[str, ...]
    dates: list[datetime]
    rows: list[AggregateRow]


class AggregateQuery(Struct, frozen=True, kw_only=True):
    """What to count; see `Reader.aggregate`."""

    start: datetime
    end: datetime
    measurements: Sequence[str] = ("count",)
    interval: str = "day"
    by: Sequence[str] = ()
    where: Mapping[str, str | Sequence[str]] = {}
    timezone: str = "UTC"

    def check(self) -> None:
        """Refuse what today's API cannot do.

        Raises:
            InvalidArgumentError: names the argument, and what there is instead.
        """
        if self.start >= self.end:
            raise InvalidArgumentError("end", "must be later than start")
        among("interval", self.interval, INTERVALS)
        _check_names("measurements", self.measurements, MEASUREMENTS)
        if not self.measurements:
            raise InvalidArgumentError("measurements", f"needs some of {', '.join(MEASUREMENTS)}")
        _check_dimensions("by", self.by)
        _check_conditions(self.where)
        _check_zone(self.timezone)

    def request(self, metric_id: str, cursor: str | None = None) -> Request:
        """POST /api/metric-aggregates: one page."""
        attributes: dict[str, Any] = {
            "metric_id": metric_id,
            "measurements": list(self.measurements),
            "interval": self.interval,
            "filter": self._filters(),
            "timezone": self.timezone,
            "page_size": limits.AGGREGATE_ROWS_A_PAGE,
        }
        if self.by:
            attributes["by"] = list(self.by)
        if cursor is not None:
            attributes["page_cursor"] = cursor
        body = {"data": {"type": "metric-aggregate", "attributes": attributes}}
        return Request(
            endpoint=limits.QUERY_METRIC_AGGREGATES,
            path="/api/metric-aggregates",
            body=msgspec.json.encode(body),
        )

    def _filters(self) -> list[str]:
        zone = ZoneInfo(self.timezone)
        # Without an offset: Klaviyo reads them in the query's time zone, as its examples have it.
        first, last = (
            moment.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds")
            for moment in (self.start, self.end)
        )
        times = [f"greater-or-equal(datetime,{first})", f"less-than(datetime,{last})"]
        return times + [_equal(name, value) for name, value in self.where.items()]


def read_page(document: Mapping[str, Any]) -> tuple[list[datetime], list[AggregateRow]]:
    """The dates and the rows of an answer."""
    attributes = document["data"]["attributes"]
    dates = [moment for text in attributes["dates"] if (moment := time_of(text))]
    rows = [
        AggregateRow(tuple(map(str, row["dimensions"])), dict(row["measurements"]))
        for row in attributes["data"]
    ]
    return dates, rows


def cursor_after(document: Mapping[str, Any]) -> str | None:
    """The cursor of the next page, which goes into the body."""
    links = document.get("links") or document["data"].get("links")
    following = links.get("next") if isinstance(links, dict) else None
    parameters = parse_qs(urlsplit(following or "").query)
    found = parameters.get("page_cursor") or parameters.get("page[cursor]")
    return found[0] if found else None


def _equal(name: str, value: str | Sequence[str]) -> str:
    quoted = msgspec.json.encode(name).decode()
    if isinstance(value, str):
        return query.equals(quoted, value)
    return query.any_of(quoted, list(value))


def _check_names(argument: str, given: Iterable[str], known: Sequence[str]) -> None:
    several(argument, given)
    for name in given:
        if name not in known:
            raise InvalidArgumentError(argument, f"must be among {', '.join(known)}")


def _check_dimensions(argument: str, given: Iterable[object]) -> None:
    several(argument, given)
    for name in given:
        if not isinstance(name, str) or name not in DIMENSIONS:
            raise InvalidArgumentError(
                argument,
                "Klaviyo's API groups and filters by these alone, no more by any property:"
                f" {', '.join(sorted(DIMENSIONS))}; for others read the metric's events and count",
            )


def _check_conditions(given: object) -> None:
    if not isinstance(given, Mapping):
        raise InvalidArgumentError("where", 'must be a dict, such as {"URL": ["/a", "/b"]}')
    _check_dimensions("where", given)
    for value in given.values():
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, Collection) or not texts or not all(map(_is_text, texts)):
            rule = 'must give each dimension a text, or a list of texts: "5", not 5'
            raise InvalidArgumentError("where", rule)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        text = "must be a time zone of the IANA database, such as Europe/Berlin"
        raise InvalidArgumentError("timezone", text) from None
