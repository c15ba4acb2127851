"""The shape of a metric aggregate query.

Source: MetricAggregateQuery of Klaviyo OpenAPI 2026-07-15, where the dimensions are a closed list.
"""

from __future__ import annotations

from typing import Literal, get_args

from .bodies import Shape

Measurement = Literal["count", "sum_value", "unique"]
Interval = Literal["hour", "day", "week", "month"]
Dimension = Literal[
    "$attributed_channel",
    "$attributed_flow",
    "$attributed_message",
    "$attributed_variation",
    "$campaign_channel",
    "$flow",
    "$flow_channel",
    "$message",
    "$message_send_cohort",
    "$usage_amount",
    "$value_currency",
    "$variation",
    "$variation_send_cohort",
    "Bot Click",
    "Bounce Type",
    "Campaign Name",
    "Client Canonical",
    "Client Name",
    "Client Type",
    "Email Domain",
    "Failure Source",
    "Failure Type",
    "From Number",
    "From Phone Region",
    "Inbox Provider",
    "List",
    "Message Format",
    "Message Name",
    "Message Type",
    "Method",
    "Segment Count",
    "Subject",
    "To Number",
    "To Phone Region",
    "URL",
    "form_id",
]
DIMENSIONS: tuple[str, ...] = get_args(Dimension)


class AggregateAttributes(Shape):
    """What is counted, when, and by what."""

    metric_id: str
    measurements: list[Measurement]
    filter: list[str]
    interval: Interval | None = None
    by: list[Dimension] | None = None
    page_size: int | None = None
    page_cursor: str | None = None
    timezone: str | None = None
    return_fields: list[str] | None = None
    """Accepted and ignored: what it limits is not documented."""
    sort: str | None = None
    """In the schema, yet every value of it is refused."""


class AggregateQuery(Shape):
    """POST /api/metric-aggregates."""

    type: Literal["metric-aggregate"]
    attributes: AggregateAttributes
