"""Operations on segments and their members: all of them read."""

from __future__ import annotations

from klaviyo_relay_worker.sandbox import filters, pages, resources
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.segments import Segment

from . import groups, members

_FILTERS: filters.Allowed = {
    **groups.FILTERS,
    "is_active": filters.ANY,
    "is_starred": filters.ONE,
}


def get_segments(call: Call) -> Answer:
    """GET /api/segments: ten a page at most.

    A filter by star is taken and not applied, as observed.
    """
    conditions = filters.parse(call.parameter("filter"), _FILTERS)
    applied = [one for one in conditions if one.field != "is_starred"]
    with call.store.open():
        found = filters.keep(call.store.segments, applied, _read)
        shown = pages.page(call, found, pages.LISTS, groups.ORDERS, "created")
        data = [resources.segment(call, one) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def get_segment(call: Call) -> Answer:
    """GET /api/segments/{id}, with the number of its members if that is asked for."""
    with call.store.open():
        one = _known(call)
        data = resources.segment(call, one)
        if "profile_count" in call.names("additional-fields[segment]"):
            data["attributes"]["profile_count"] = len(one.members)
    return answer(200, {"data": data})


def get_members(call: Call) -> Answer:
    """GET /api/segments/{id}/profiles."""
    with call.store.open():
        return members.profiles(call, _known(call).members, members.SEGMENT_FILTERS)


def get_member_ids(call: Call) -> Answer:
    """GET /api/segments/{id}/relationships/profiles."""
    with call.store.open():
        return members.references(call, _known(call).members, members.SEGMENT_FILTERS)


def _known(call: Call) -> Segment:
    return groups.known(call, call.store.segments, "segment")


def _read(one: Segment, field: str) -> object:
    """A field as filters compare it: a truth value as they spell it."""
    if field == "is_active":
        return "true" if one.is_active else "false"
    return getattr(one, field)
