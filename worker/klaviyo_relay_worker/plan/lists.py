"""Lists: memberships in bulk, and the lists themselves one by one.

A list is addressed by id or by name. Names are looked up at Klaviyo once and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec

from klaviyo_relay.commands import (
    AddToList,
    Command,
    CreateList,
    DeleteList,
    RenameList,
)
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import (
    Dead,
    Delivered,
    Dropped,
    Failure,
    Outcome,
    Parked,
    Parking,
    Rule,
)
from klaviyo_relay_worker.plan.batch import (
    Batch,
    Conversation,
    Entry,
    Ledger,
    Part,
    Situation,
    decided,
    identities,
    refusal_of,
    take_in_order,
)
from klaviyo_relay_worker.plan.ladder import Bulk, is_shared, refuse
from klaviyo_relay_worker.plan.lookup import Found, look_up
from klaviyo_relay_worker.plan.profiles import BULK_MOST, accept_job, import_request

# Ids in a removal (OpenAPI 2026-07-15, "Remove Profiles from List").
REMOVE_MOST = 1_000
# A name may belong to a list that another lane is about to create: it is looked up again for this
# long after the command was enqueued, and only then refused.
NAME_SETTLES_SECONDS = 10 * 60
NAME_AGAIN_SECONDS = 5.0
UNKNOWN_LIST = "unknown_list"
_ABOUT_LISTS = (CreateList, RenameList, DeleteList)
# How a fence around a list begins, by the field that names the list.
_FENCES = {"list_id": "list_id:", "list_name": "list_name:", "new_name": "list_name:"}
_PREFIXES = tuple(_FENCES.values())
_IDENTIFIERS = ("email", "phone_number", "external_id")

_encode = msgspec.json.Encoder().encode


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """The oldest command, with all later ones that may go with it.

    A command about a list itself goes alone: what follows may depend on it.
    """
    entries = free(entries, situation.held)
    before = until_about_lists(entries)
    if before:
        return _memberships(before, situation)
    return [_about_list(entries[0], situation)] if entries and situation.is_idle else []


def fence_of(command: Command) -> frozenset[str]:
    """Whom later commands must wait for: a profile, or all that concerns a list itself."""
    if isinstance(command, _ABOUT_LISTS):
        return _lists_of(command)
    return frozenset(identities(command))


def _lists_of(command: Command) -> frozenset[str]:
    named = ((prefix, getattr(command, name, None)) for name, prefix in _FENCES.items())
    return frozenset(prefix + value for prefix, value in named if value is not None)


def free(entries: Sequence[Entry], held: Iterable[str]) -> Sequence[Entry]:
    """Those that wait for no command about their list, nor for one that does.

    Args:
        entries: in order.
        held: fences of the commands that are in flight or parked.
    """
    waiting = {fence for fence in held if fence.startswith(_PREFIXES)}
    if not waiting:
        return entries
    found = []
    for entry in entries:
        if waiting.isdisjoint(_lists_of(entry.command).union(entry.identities)):
            found.append(entry)
        else:
            waiting |= fence_of(entry.command)
    return found


def _memberships(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    overtaken = superseded_memberships(entries)
    if overtaken:
        return [decided([(entry, Dropped(Rule.SUPERSEDED)) for entry in overtaken])]
    leading = next((e for e in entries if situation.held.isdisjoint(e.identities)), None)
    if leading is None:
        return []
    is_addition = isinstance(leading.command, AddToList)
    most = BULK_MOST if is_addition else query.FILTER_MOST
    wanted = _same_target(leading.command)
    chosen, is_full = take_in_order(entries, situation.held, wanted, most)
    converse = partial(_add if is_addition else _remove, chosen, situation)
    converse = partial(by_known_name, converse, chosen, situation)
    return [Batch(_first_endpoint(leading.command, situation), chosen, converse, is_full)]


def until_about_lists(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The commands before the first one about a list itself, on which later ones may depend."""
    for at, entry in enumerate(entries):
        if isinstance(entry.command, _ABOUT_LISTS):
            return entries[:at]
    return entries


def superseded_memberships(entries: Sequence[Entry]) -> list[Entry]:
    """Commands that a later one about the same person and list makes needless, sent or not.

    Only for the very same identifiers: by others a later command might mean somebody else.
    """
    last: set[tuple[str | None, ...]] = set()
    found = []
    for entry in reversed(entries):
        command: Any = entry.command
        who = (getattr(command, name, None) for name in _IDENTIFIERS)
        membership = (command.list_id, command.list_name, *who)
        if membership in last and not entry.is_alone:
            found.append(entry)
        last.add(membership)
    return found[::-1]


def _same_target(command: Any) -> Any:
    target = (type(command), command.list_id, command.list_name)

    def wanted(entry: Entry) -> bool:
        other: Any = entry.command
        return (type(other), other.list_id, other.list_name) == target

    return wanted


def _first_endpoint(command: Any, situation: Situation) -> str:
    if command.list_id is None and command.list_name not in situation.lists:
        return limits.GET_LISTS
    if isinstance(command, AddToList):
        return limits.BULK_IMPORT_PROFILES
    return limits.GET_LIST_PROFILE_IDS


def find_list(
    command: Any, situation: Situation, ledger: Ledger
) -> Generator[Request, Answer, str | Failure]:
    """The id of the list that a command names, or why there is none."""
    if command.list_id is not None:
        return str(command.list_id)
    name: str = command.list_name
    known = ledger.lists.get(name) or situation.lists.get(name)
    if known is not None:
        return known
    answer = yield lists_named(name)
    if not answer.is_accepted:
        return refusal_of(answer)
    ids = [found["id"] for found in answer.document().get("data", ())]
    if len(ids) != 1:
        if ids:
            detail = f"{len(ids)} lists at Klaviyo have this list_name; use list_id"
            return Failure(code="ambiguous_list", title="Not one list", detail=detail)
        return Failure(
            code=UNKNOWN_LIST, title="No list", detail="Klaviyo has no list of this name"
        )
    ledger.lists[name] = str(ids[0])
    return str(ids[0])


def by_known_name(
    converse: Callable[[Ledger], Conversation],
    entries: Sequence[Entry],
    situation: Situation,
    ledger: Ledger,
) -> Conversation:
    """Hold a conversation about a list; forget a remembered name whose list is gone.

    Somebody may have deleted the list at Klaviyo, and made one anew under its name. The commands
    stay where they are, and go out again with the id that the name has then.

    Args:
        converse: settles the entries.
        entries: commands that name the same list.
        situation: holds the names that are remembered.
        ledger: of the conversation.
    """
    yield from converse(ledger)
    if not is_by_remembered_name(entries[0].command, situation, ledger):
        return
    command: Any = entries[0].command
    gone = [entry for entry in entries if _is_list_gone(ledger.outcomes.get(entry.key))]
    for entry in gone:
        del ledger.outcomes[entry.key]
    if gone:
        ledger.lists[command.list_name] = None


def is_by_remembered_name(command: Any, situation: Situation, ledger: Ledger) -> bool:
    """Whether a command's list was found by a name that was looked up before."""
    name = getattr(command, "list_name", None)
    # create_list looks its name up each time.
    is_looked_up = not isinstance(command, CreateList) and not ledger.lists.get(name or "")
    return name in situation.lists and is_looked_up


def _is_list_gone(outcome: Outcome | None) -> bool:
    """By a 404, or by what Klaviyo says of an import job for such a list (see `plan.ladder`)."""
    if not isinstance(outcome, Dead):
        return False
    return outcome.failure.status == 404 or is_shared(outcome.failure)


def lists_named(name: str) -> Request:
    """GET /api/lists by name; the filter takes only the list form (API of 2026-07-15)."""
    return _get(limits.GET_LISTS, f"/api/lists?filter={quote(query.equals_listed('name', name))}")


def _get(endpoint: str, path: str) -> Request:
    return Request(endpoint=endpoint, path=path)


def refuse_or_wait(
    entries: Sequence[Entry], failure: Failure, situation: Situation, ledger: Ledger
) -> None:
    """A list name that is still young may only be early; everything else is refused."""
    for entry in entries:
        may_be_early = failure.code == UNKNOWN_LIST
        if may_be_early and situation.now < entry.envelope.at / 1000 + NAME_SETTLES_SECONDS:
            ledger.settle(
                (entry,), Parked(situation.now + NAME_AGAIN_SECONDS, Parking.UNKNOWN_LIST)
            )
        else:
            ledger.refuse((entry,), failure)


def _add(entries: Sequence[Entry], situation: Situation, ledger: Ledger) -> Conversation:
    list_id = yield from find_list(entries[0].command, situation, ledger)
    if isinstance(list_id, Failure):
        refuse_or_wait(entries, list_id, situation, ledger)
        return
    bulk = Bulk(partial(add_request, list_id), accept_job, refuse)
    yield from bulk.deliver([Part.of(entry) for entry in entries], ledger)


def add_request(list_id: str, parts: Sequence[Part]) -> Request:
    """An import job that makes profiles members: by e-mail, and consent stays as it is."""
    resources = [{"type": "profile", "attributes": _identifiers_of(part.command)} for part in parts]
    return import_request(resources, list_id)


def _identifiers_of(command: Any) -> dict[str, str]:
    return {
        name: value for name in _IDENTIFIERS if (value := getattr(command, name, None)) is not None
    }


def _remove(entries: Sequence[Entry], situation: Situation, ledger: Ledger) -> Conversation:
    """Look the members up, for the removal takes Klaviyo's ids only; then remove them at once."""
    list_id = yield from find_list(entries[0].command, situation, ledger)
    if isinstance(list_id, Failure):
        refuse_or_wait(entries, list_id, situation, ledger)
        return
    ids: set[str] = set()
    failures: dict[tuple[str, str], Failure] = {}
    for name in _IDENTIFIERS:
        values = [v for e in entries if (v := getattr(e.command, name)) is not None]
        found = Found()
        yield from look_up(name, values, partial(member_ids_request, list_id, name), found)
        ids.update(str(profile["id"]) for profile in found.profiles)
        failures.update({(name, value): why for value, why in found.failures.items()})
    if not failures:
        yield from _remove_ids(list_id, sorted(ids), entries, ledger)
    elif others := _without_refused(entries, failures, ledger):
        # Once more, since nobody knows which ids the others' are: Klaviyo tells no more of them.
        yield from _remove(others, situation, ledger)


def _without_refused(
    entries: Sequence[Entry], failures: Mapping[tuple[str, str], Failure], ledger: Ledger
) -> list[Entry]:
    """Refuse those of which Klaviyo would not look for an identifier; returns the others."""
    others = []
    for entry in entries:
        own = ((name, getattr(entry.command, name)) for name in _IDENTIFIERS)
        why = next((failures[one] for one in own if one in failures), None)
        if why is None:
            others.append(entry)
        else:
            ledger.refuse((entry,), why)
    return others


def _remove_ids(
    list_id: str, ids: list[str], entries: Sequence[Entry], ledger: Ledger
) -> Conversation:
    for at in range(0, len(ids), REMOVE_MOST):
        answer = yield remove_request(list_id, ids[at : at + REMOVE_MOST])
        if not answer.is_accepted:
            ledger.refuse(entries, refusal_of(answer))
            return
    ledger.settle(entries, Delivered())


def remove_request(list_id: str, ids: Sequence[str]) -> Request:
    """DELETE members by Klaviyo's ids."""
    body = {"data": [{"type": "profile", "id": identity} for identity in ids]}
    return Request(
        endpoint=limits.REMOVE_LIST_PROFILES,
        path=f"/api/lists/{list_id}/relationships/profiles",
        body=_encode(body),
        items=len(ids),
    )


def member_ids_request(list_id: str, name: str, values: Sequence[str]) -> Request:
    """GET Klaviyo's ids of the members with these values of one identifier."""
    path = f"/api/lists/{list_id}/relationships/profiles"
    endpoint = limits.GET_LIST_PROFILE_IDS
    if name == "external_id":  # not among the filters of a list's members (OpenAPI 2026-07-15)
        path, endpoint = "/api/profiles", limits.GET_PROFILES
    return _get(endpoint, f"{path}?filter={any_filter(name, values)}&page%5Bsize%5D=100")


def any_filter(name: str, values: Sequence[str]) -> str:
    """`any(name,["…","…"])`, encoded for a query."""
    return quote(query.any_of(name, values))


def _about_list(entry: Entry, situation: Situation) -> Batch:
    command = entry.command
    converse = partial(_ABOUT[type(command)], entry, situation)
    converse = partial(by_known_name, converse, (entry,), situation)
    endpoint = limits.GET_LISTS
    if not isinstance(command, CreateList):
        known = command.list_id or command.list_name in situation.lists  # type: ignore[attr-defined]  # the other two have both
        endpoint = _OWN_ENDPOINT[type(command)] if known else limits.GET_LISTS
    return Batch(endpoint, (entry,), converse)


def _create(entry: Entry, _situation: Situation, ledger: Ledger) -> Conversation:
    """Look the name up first: the answer to an earlier attempt may have been lost."""
    command: CreateList = entry.command  # type: ignore[assignment]  # by _ABOUT
    answer = yield lists_named(command.list_name)
    ids = [found["id"] for found in answer.document().get("data", ())] if answer.is_accepted else []
    if answer.is_accepted and not ids:
        answer = yield create_request(command)
        ids = [answer.document()["data"]["id"]] if answer.is_accepted else []
    if not answer.is_accepted:
        ledger.refuse((entry,), refusal_of(answer))
        return
    if len(ids) == 1:
        ledger.lists[command.list_name] = str(ids[0])
    ledger.created[entry.envelope.id] = str(ids[0])
    ledger.settle((entry,), Delivered())


def create_request(command: CreateList) -> Request:
    """POST /api/lists."""
    attributes = {"name": command.list_name}
    if command.opt_in_process is not None:
        attributes["opt_in_process"] = command.opt_in_process
    body = {"data": {"type": "list", "attributes": attributes}}
    return Request(endpoint=limits.CREATE_LIST, path="/api/lists", body=_encode(body))


def _rename(entry: Entry, situation: Situation, ledger: Ledger) -> Conversation:
    command: RenameList = entry.command  # type: ignore[assignment]  # by _ABOUT
    list_id = yield from find_list(command, situation, ledger)
    if isinstance(list_id, Failure):
        # At once, even where the name is unknown: while this waited, a later command might give the
        # name to another list. Whatever made the list in this lane has been before this.
        ledger.refuse((entry,), list_id)
        return
    answer = yield rename_request(list_id, command.new_name)
    ledger.settle_by(answer, (entry,))
    if answer.is_accepted:
        if command.list_name is not None:
            ledger.lists[command.list_name] = None
        ledger.lists[command.new_name] = list_id


def rename_request(list_id: str, new_name: str) -> Request:
    """PATCH /api/lists/{id}."""
    data = {"type": "list", "id": list_id, "attributes": {"name": new_name}}
    return Request(
        endpoint=limits.UPDATE_LIST, path=f"/api/lists/{list_id}", body=_encode({"data": data})
    )


def _delete(entry: Entry, situation: Situation, ledger: Ledger) -> Conversation:
    command: DeleteList = entry.command  # type: ignore[assignment]  # by _ABOUT
    list_id = yield from find_list(command, situation, ledger)
    if isinstance(list_id, Failure):
        if list_id.code == UNKNOWN_LIST:  # no such list: that is what was asked
            ledger.settle((entry,), Delivered())
        else:
            ledger.refuse((entry,), list_id)
        return
    answer = yield Request(endpoint=limits.DELETE_LIST, path=f"/api/lists/{list_id}")
    is_gone = answer.status == 404 and not is_by_remembered_name(command, situation, ledger)
    if is_gone:  # already: that is what was asked
        ledger.settle((entry,), Delivered())
    else:
        ledger.settle_by(answer, (entry,))
    if command.list_name is not None:
        ledger.lists[command.list_name] = None


_ABOUT: dict[type[Command], Any] = {CreateList: _create, RenameList: _rename, DeleteList: _delete}
_OWN_ENDPOINT: dict[type[Command], str] = {
    RenameList: limits.UPDATE_LIST,
    DeleteList: limits.DELETE_LIST,
}
