"""The order of which each call tells, and the request that delivers one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from klaviyo_relay import Track

METRIC = "Placed Order"
EMAIL = "ada@lovelace.dev"
VALUE, CURRENCY = 23.99, "USD"
# What a shop sends for an order: about 400 bytes as an envelope.
PROPERTIES = {
    "order_id": "A-100234",
    "items": ["Wool socks", "Tea, 250 g", "Kettle"],
    "brand": "Fernhill",
    "discount": 0.05,
    "first_order": False,
    "shipping": {"carrier": "DHL", "days": 3},
    "note": "leave it with the neighbour, please; the bell is broken",
}
ORDER: dict[str, Any] = {
    "email": EMAIL,
    "properties": PROPERTIES,
    "value": VALUE,
    "value_currency": CURRENCY,
}
# What libraries without a value of their own are given.
FLAT: dict[str, Any] = {**PROPERTIES, "value": VALUE, "currency": CURRENCY}


def orders(count: int) -> Iterator[Track]:
    """So many orders, each of another customer."""
    return (
        Track(metric=METRIC, **{**ORDER, "email": f"customer{number}@fernhill.dev"})
        for number in range(count)
    )


def envelope() -> bytes:
    """The order as klaviyo-relay stores it."""
    from klaviyo_relay.envelope import Envelope, encode, new_id

    at = time.time_ns() // 1_000_000
    command = Track(metric=METRIC, **ORDER)
    return encode(Envelope(id=new_id(), account="default", at=at, command=command))


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
