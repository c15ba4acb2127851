"""The order of which each call tells, and the request that delivers one."""

from __future__ import annotations

from typing import Any

from bench.stage import PROPERTIES

METRIC = "Placed Order"
EMAIL = "ada@lovelace.dev"
VALUE, CURRENCY = 23.99, "USD"
ORDER: dict[str, Any] = {
    "email": EMAIL,
    "properties": PROPERTIES,
    "value": VALUE,
    "value_currency": CURRENCY,
}
# What libraries without a value of their own are given.
FLAT: dict[str, Any] = {**PROPERTIES, "value": VALUE, "currency": CURRENCY}


def event(
    unique_id: str,
    *,
    metric: str,
    email: str,
    properties: dict[str, Any],
    value: float,
    value_currency: str,
) -> dict[str, Any]:
    """The body of POST /api/events."""
    attributes = {
        "properties": properties,
        "value": value,
        "value_currency": value_currency,
        "unique_id": unique_id,
        "metric": {"data": {"type": "metric", "attributes": {"name": metric}}},
        "profile": {"data": {"type": "profile", "attributes": {"email": email}}},
    }
    return {"data": {"type": "event", "attributes": attributes}}
