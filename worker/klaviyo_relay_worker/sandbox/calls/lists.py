"""Operations on lists and their members."""

from __future__ import annotations

import msgspec

from klaviyo_relay_worker.sandbox import bodies, checks, filters, pages, resources
from klaviyo_relay_worker.sandbox.decoding import decode, decode_body, whole, within
from klaviyo_relay_worker.sandbox.errors import Fault, Refusal, invalid
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.lists import MailingList

from . import groups, members

MEMBERS = ("data",)

_create = whole(bodies.ListCreate)
_patch = whole(bodies.ListPatch)
_members = msgspec.json.Decoder(bodies.Data[list[bodies.Reference]])


def create_list(call: Call) -> Answer:
    """POST /api/lists. Names need not be unique, so a repeat makes a second list."""
    attributes = decode_body(_create, call.body).attributes
    if not attributes.name.strip():
        raise invalid("A list needs a name.", "/data/attributes/name")
    with call.store.open() as now:
        made = call.store.lists.create(attributes.name, attributes.opt_in_process, now)
        document = {"data": resources.mailing_list(call, made)}
    return answer(201, document)


def get_lists(call: Call) -> Answer:
    """GET /api/lists: ten a page at most."""
    conditions = filters.parse(call.parameter("filter"), groups.FILTERS)
    with call.store.open():
        found = filters.keep(call.store.lists, conditions, getattr)
        shown = pages.page(call, found, pages.LISTS, groups.ORDERS, "created")
        data = [resources.mailing_list(call, one) for one in shown.items]
    return answer(200, {"data": data, "links": shown.links})


def get_list(call: Call) -> Answer:
    """GET /api/lists/{id}."""
    with call.store.open():
        return answer(200, {"data": resources.mailing_list(call, _known(call))})


def update_list(call: Call) -> Answer:
    """PATCH /api/lists/{id}."""
    data = decode_body(_patch, call.body)
    if data.id != call.ids[0]:
        raise invalid("The id in the body is not the one in the path.", "/data/id")
    with call.store.open() as now:
        one = _known(call)
        one.name = data.attributes.name or one.name
        one.opt_in_process = data.attributes.opt_in_process or one.opt_in_process
        one.updated = now
        document = {"data": resources.mailing_list(call, one)}
    return answer(200, document)


def delete_list(call: Call) -> Answer:
    """DELETE /api/lists/{id}."""
    with call.store.open():
        call.store.lists.delete(_known(call).id)
    return Answer(204)


def add_members(call: Call) -> Answer:
    """POST /api/lists/{id}/relationships/profiles: by profile id only; consent stays."""
    ids = _member_ids(call)
    with call.store.open() as now:
        one = _known(call)
        _refuse_strangers(call, ids)
        for profile_id in ids:
            one.add(profile_id, now)
    return Answer(204, items=len(ids))


def remove_members(call: Call) -> Answer:
    """DELETE /api/lists/{id}/relationships/profiles: who is not on the list stays off."""
    ids = _member_ids(call)
    with call.store.open():
        one = _known(call)
        _refuse_strangers(call, ids)
        for profile_id in ids:
            one.members.pop(profile_id, None)
    return Answer(204, items=len(ids))


def get_members(call: Call) -> Answer:
    """GET /api/lists/{id}/profiles."""
    with call.store.open():
        return members.profiles(call, _known(call).members, members.LIST_FILTERS)


def get_member_ids(call: Call) -> Answer:
    """GET /api/lists/{id}/relationships/profiles."""
    with call.store.open():
        return members.references(call, _known(call).members, members.LIST_FILTERS)


def _member_ids(call: Call) -> list[str]:
    """The profile ids in the body, which holds nothing else."""
    references = decode(_members, call.body).data
    within(len(references), checks.MAX_MEMBERS, "profiles", "/data")
    for index, one in enumerate(references):
        if one.type != "profile":
            raise invalid("Only profiles can be on a list.", f"/data/{index}/type")
    return [one.id for one in references]


def _refuse_strangers(call: Call, ids: list[str]) -> None:
    """Refuse unknown profile ids. What Klaviyo does is unknown; 404 is expected."""
    faults = [
        Fault(f"A profile with id {profile_id} does not exist.", pointer=f"/data/{index}/id")
        for index, profile_id in enumerate(ids)
        if call.store.people.get(profile_id) is None
    ]
    if faults:
        raise Refusal(404, *faults)


def _known(call: Call) -> MailingList:
    return groups.known(call, call.store.lists, "list")
