"""What operations on lists and on segments have in common."""

from __future__ import annotations

from klaviyo_relay_worker.sandbox import filters, pages
from klaviyo_relay_worker.sandbox.errors import not_found
from klaviyo_relay_worker.sandbox.exchange import Call
from klaviyo_relay_worker.sandbox.groups import Groups, Kind

FILTERS: filters.Allowed = {
    "id": filters.ANY,
    "name": filters.LISTED,
    "created": filters.AFTER,
    "updated": filters.AFTER,
}
ORDERS: dict[str, pages.Reader] = {
    "id": lambda one: (one.id, ""),
    "name": lambda one: (one.name, one.id),
    "created": lambda one: (one.created, one.id),
    "updated": lambda one: (one.updated, one.id),
}


def known(call: Call, groups: Groups[Kind], kind: str) -> Kind:
    """The group that the path names; `kind` is its type, as resources have it."""
    one = groups.get(call.ids[0])
    if one is None:
        raise not_found(kind, call.ids[0])
    return one
