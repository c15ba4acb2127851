"""Operations on single profiles."""

from __future__ import annotations

from klaviyo_relay_worker.sandbox import bodies, checks, filters, pages, resources
from klaviyo_relay_worker.sandbox.decoding import decode_body, whole
from klaviyo_relay_worker.sandbox.errors import (
    Beneath,
    Fault,
    Refusal,
    duplicate,
    invalid,
    not_found,
)
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.people import Profile

from . import profile_search

_create = whole(bodies.ProfileCreate)
_patch = whole(bodies.ProfilePatch)
_import = whole(bodies.ProfileImport)


def import_profile(call: Call) -> Answer:
    """POST /api/profile-import: 201 for a new profile, 200 for one that is changed."""
    _refuse_large(call)
    row = decode_body(_import, call.body)
    with Beneath("/data"):
        who, patch = checks.import_row(row, len(call.body), lenient_phone=False)
    with call.store.open() as now:
        profile, new = call.store.upsert(who, patch, now, clear_nulls=True)
        document = {"data": resources.profile(call, profile)}
    return answer(201 if new else 200, document)


def create_profile(call: Call) -> Answer:
    """POST /api/profiles: 201, or 409 when any of its identifiers is known."""
    _refuse_large(call)
    attributes = decode_body(_create, call.body).attributes
    at = "/data/attributes"
    who = checks.identifiers(attributes, None, at, lenient_phone=False)
    patch = checks.patch(attributes, None, at)
    with call.store.open() as now:
        for kind in ("email", "phone_number", "external_id"):
            value = getattr(who, kind)
            if value and (holder := call.store.people.holder(kind, value)):
                raise duplicate(holder.id, kind)
        profile, _ = call.store.upsert(who, patch, now, clear_nulls=False)
        document = {"data": resources.profile(call, profile)}
    return answer(201, document)


def update_profile(call: Call) -> Answer:
    """PATCH /api/profiles/{id}: null clears, as with profile-import."""
    _refuse_large(call)
    data = decode_body(_patch, call.body)
    if data.id != call.ids[0]:
        raise invalid("The id in the body is not the one in the path.", "/data/id")
    at = "/data/attributes"
    who = checks.identifiers(data.attributes, data.id, at, lenient_phone=False)
    patch = checks.patch(data.attributes, data.meta, at)
    with call.store.open() as now:
        if call.store.people.get(data.id) is None:
            raise not_found("profile", data.id)
        profile, _ = call.store.upsert(who, patch, now, clear_nulls=True)
        document = {"data": resources.profile(call, profile)}
    return answer(200, document)


def get_profile(call: Call) -> Answer:
    """GET /api/profiles/{id}."""
    with call.store.open():
        return answer(200, {"data": resources.profile(call, known(call))})


def get_profiles(call: Call) -> Answer:
    """GET /api/profiles."""
    conditions = filters.parse(call.parameter("filter"), profile_search.FILTERS)
    by_suppression = any("suppression" in one.field for one in conditions)
    if by_suppression and call.parameter("sort"):  # observed: such a filter takes no sort
        raise Refusal(400, Fault("A suppression filter cannot be sorted.", parameter="sort"))
    with call.store.open():
        found = profile_search.found(call.store, conditions)
        shown = pages.page(call, found, pages.PROFILES, _ORDERS, "created")
        data = [resources.profile(call, one) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def get_profile_lists(call: Call) -> Answer:
    """GET /api/profiles/{id}/lists."""
    with call.store.open():
        lists = call.store.lists.of(known(call).id)
        data = [resources.mailing_list(call, one) for one in lists]
    return answer(200, {"data": data, "links": pages.links(call, None)})


def get_profile_list_ids(call: Call) -> Answer:
    """GET /api/profiles/{id}/relationships/lists."""
    with call.store.open():
        lists = call.store.lists.of(known(call).id)
        data = [resources.reference("list", one.id) for one in lists]
    return answer(200, {"data": data, "links": pages.links(call, None)})


def get_profile_segments(call: Call) -> Answer:
    """GET /api/profiles/{id}/segments."""
    with call.store.open():
        segments = call.store.segments.of(known(call).id)
        data = [resources.segment(call, one) for one in segments]
    return answer(200, {"data": data, "links": pages.links(call, None)})


def get_profile_segment_ids(call: Call) -> Answer:
    """GET /api/profiles/{id}/relationships/segments."""
    with call.store.open():
        segments = call.store.segments.of(known(call).id)
        data = [resources.reference("segment", one.id) for one in segments]
    return answer(200, {"data": data, "links": pages.links(call, None)})


def known(call: Call) -> Profile:
    """The profile that the path names."""
    profile = call.store.people.get(call.ids[0])
    if profile is None:
        raise not_found("profile", call.ids[0])
    return profile


def _refuse_large(call: Call) -> None:
    if len(call.body) > checks.MAX_PROFILE_BYTES:
        raise Refusal(413, Fault("A profile must not be larger than 100 KB."))


_ORDERS: dict[str, pages.Reader] = {
    "id": lambda one: (one.id, ""),
    "email": lambda one: (one.email or "", one.id),
    "created": lambda one: (one.created, one.id),
    "updated": lambda one: (one.updated, one.id),
}
