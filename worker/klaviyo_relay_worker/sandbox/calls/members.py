"""What operations on the members of lists and of segments have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from klaviyo_relay_worker.sandbox import filters, pages, resources
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.people import Profile

from . import profile_search

LIST_FILTERS: filters.Allowed = {
    "email": filters.LISTED,
    "phone_number": filters.LISTED,
    "push_token": filters.LISTED,
    "joined_group_at": filters.RANGE,
}
SEGMENT_FILTERS: filters.Allowed = {**LIST_FILTERS, "profile_id": filters.LISTED}


class Member(NamedTuple):
    """A profile and the instant it joined."""

    profile: Profile
    joined: float


def profiles(call: Call, members: Mapping[str, float], allowed: filters.Allowed) -> Answer:
    """A page of the members' profiles. Called with the store open."""
    shown = _shown(call, members, allowed)
    data = [resources.profile(call, one.profile, one.joined) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def references(call: Call, members: Mapping[str, float], allowed: filters.Allowed) -> Answer:
    """A page of the members' ids. Called with the store open."""
    shown = _shown(call, members, allowed)
    data = [resources.reference("profile", one.profile.id) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def _shown(call: Call, members: Mapping[str, float], allowed: filters.Allowed) -> pages.Page:
    conditions = filters.parse(call.parameter("filter"), allowed)
    found = filters.keep(_candidates(call, members, conditions), conditions, _read_member)
    return pages.page(call, found, pages.PROFILES, _ORDERS, "joined_group_at")


def _candidates(
    call: Call, members: Mapping[str, float], conditions: Sequence[filters.Condition]
) -> list[Member]:
    named = profile_search.holders(call.store, conditions)
    if named is not None:
        return [Member(one, members[one.id]) for one in named if one.id in members]
    pairs = ((call.store.people.get(one), joined) for one, joined in members.items())
    return [Member(profile, joined) for profile, joined in pairs if profile]


def _read_member(one: Member, field: str) -> object:
    if field == "joined_group_at":
        return one.joined
    if field == "profile_id":
        return one.profile.id
    if field == "push_token":
        return one.profile.push_tokens
    return getattr(one.profile, field)


_ORDERS: dict[str, pages.Reader] = {"joined_group_at": lambda one: (one.joined, one.profile.id)}
