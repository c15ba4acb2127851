"""Paths of reads, with their filters: the grammar of Klaviyo's filtering guide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

# Values in one any(...) filter; Klaviyo names no limit, clients in the field keep to a page's 100.
FILTER_MOST = 100


def path(base: str, conditions: Iterable[str] = (), **parameters: Any) -> str:
    """A path with its query.

    Args:
        conditions: all of them must hold.
        parameters: `page_size`, `page_cursor`, `sort`, `include`, `fields_profile`,
            `additional_fields_profile`, … as in JSON:API with underscores for the brackets.
    """
    query = {"filter": ",".join(conditions), **parameters}
    pairs = {_parameter(name): value for name, value in query.items() if value not in (None, "")}
    return f"{base}?{urlencode(pairs)}" if pairs else base


def equals(field: str, value: str) -> str:
    """`equals(field,"value")`."""
    return f"equals({field},{_quoted(value)})"


def equals_listed(field: str, value: str) -> str:
    """`equals(field,["value"])`: some fields take only this form (`x-klaviyo-filters`)."""
    return f"equals({field},{_quoted([value])})"


def any_of(field: str, values: Sequence[str]) -> str:
    """`any(field,["value",…])`."""
    return f"any({field},{_quoted(list(values))})"


def since(field: str, moment: datetime) -> str:
    """At this time or later."""
    return f"greater-or-equal({field},{instant(moment)})"


def after(field: str, moment: datetime) -> str:
    """Later than this time: profiles know no other comparison (`x-klaviyo-filters`)."""
    return f"greater-than({field},{instant(moment)})"


def until(field: str, moment: datetime) -> str:
    """Before this time."""
    return f"less-than({field},{instant(moment)})"


def instant(moment: datetime) -> str:
    """A time in a filter: unquoted, in UTC, to the second where it has no smaller part."""
    text = moment.astimezone(UTC).isoformat().replace("+00:00", "")
    return f"{text}Z"


def _quoted(value: str | list[str]) -> str:
    return msgspec.json.encode(value).decode()


def _parameter(name: str) -> str:
    """`page_size` -> `page[size]`, `additional_fields_profile` -> `additional-fields[profile]`."""
    for prefix in ("page", "fields", "additional_fields"):
        member = name.removeprefix(f"{prefix}_")
        if member != name:
            return f"{prefix.replace('_', '-')}[{member.replace('_', '-')}]"
    return name
