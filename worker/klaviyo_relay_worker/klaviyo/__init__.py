"""Klaviyo's API: the only room that knows HTTP, for deliveries and for reads.

    from klaviyo_relay_worker.klaviyo import Reader

The names below are the reads' public ones; they are imported when they are first used, since a
delivery needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from klaviyo_relay_worker.klaviyo.aggregates import Aggregate
    from klaviyo_relay_worker.klaviyo.pages import Pages
    from klaviyo_relay_worker.klaviyo.reader import Reader
    from klaviyo_relay_worker.klaviyo.resources import (
        Event,
        Exclusion,
        MailingList,
        Metric,
        Profile,
        Segment,
    )

_MODULES = {
    "Aggregate": "aggregates",
    "Event": "resources",
    "Exclusion": "resources",
    "MailingList": "resources",
    "Metric": "resources",
    "Pages": "pages",
    "Profile": "resources",
    "Reader": "reader",
    "Segment": "resources",
}
__all__ = [
    "Aggregate",
    "Event",
    "Exclusion",
    "MailingList",
    "Metric",
    "Pages",
    "Profile",
    "Reader",
    "Segment",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
