"""Consent: unsubscribes before everything, and never wider than they were meant.

Klaviyo unsubscribes a profile *globally* if it is not on the list that an unsubscribe names
(OpenAPI 2026-07-15). So members are looked up first and only they are sent. A profile that is not a
member may have a subscribe of its own still under way, which Klaviyo applies some time after its
202; it is looked at again for half an hour, then the unsubscribe is dropped by the rule
`not_on_list`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import msgspec

from klaviyo_relay.commands import Command, Subscribe, Suppress, Unsubscribe, Unsuppress
from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import (
    Delivered,
    Dropped,
    Failure,
    Parked,
    failures_of,
)
from klaviyo_relay_worker.plan.batch import (
    Batch,
    Conversation,
    Entry,
    Ledger,
    Part,
    Situation,
    take_in_order,
)
from klaviyo_relay_worker.plan.ladder import Bulk, refuse
from klaviyo_relay_worker.plan.lists import FILTER_MOST, any_filter, find_list, refuse_or_wait

SUBSCRIBE_MOST = 1_000
# Unsubscribes, suppressions: at most 100 a request (OpenAPI 2026-07-15).
OTHERS_MOST = 100
# Klaviyo asks for at most one subscribe job a profile in 30 minutes: after that it has settled.
MEMBERSHIP_SETTLES_SECONDS = 30 * 60
LOOK_AGAIN_SECONDS = 60.0
SUPERSEDED = "superseded"
NOT_ON_LIST = "not_on_list"

_encode = msgspec.json.Encoder().encode


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """Drops what is superseded; else unsubscribes first; else the oldest and what fits with it."""
    superseded = superseded_by_unsubscribe(entries)
    if superseded:
        return [Batch("", superseded, partial(_drop, superseded))]
    held = situation.held_from_unsubscribe
    held = situation.held if held is None else held
    leading = _first(entries, held, Unsubscribe)
    if leading is None:
        held = situation.held
        leading = _first(entries, held, Command)
    if leading is None:
        return []
    most = SUBSCRIBE_MOST if isinstance(leading.command, Subscribe) else OTHERS_MOST
    chosen, is_full = take_in_order(entries, held, _sent_alike(leading), most)
    converse = _CONVERSATIONS[type(leading.command)]
    endpoint = _first_endpoint(leading.command, situation)
    return [Batch(endpoint, chosen, partial(converse, chosen, situation), is_full)]


def _first(entries: Sequence[Entry], held: frozenset[str], kind: type[Command]) -> Entry | None:
    """The oldest command of a kind whose profile need not wait."""
    found, _ = take_in_order(entries, held, lambda entry: isinstance(entry.command, kind), 1)
    return found[0] if found else None


def superseded_by_unsubscribe(entries: Sequence[Entry]) -> list[Entry]:
    """Subscribes that a later unsubscribe of the same person takes back before they were sent."""
    found = []
    later: dict[str, list[Unsubscribe]] = {}
    for entry in reversed(entries):
        if isinstance(entry.command, Unsubscribe):
            for who in entry.identities:
                later.setdefault(who, []).append(entry.command)
        elif isinstance(entry.command, Subscribe) and any(
            takes_back(unsubscribe, entry.command)
            for who in entry.identities
            for unsubscribe in later.get(who, ())
        ):
            found.append(entry)
    return found[::-1]


def takes_back(unsubscribe: Unsubscribe, subscribe: Subscribe) -> bool:
    """Whether an unsubscribe covers all that an earlier subscribe asked for."""
    is_everywhere = unsubscribe.list_id is None and unsubscribe.list_name is None
    same_list = (unsubscribe.list_id, unsubscribe.list_name) == (
        subscribe.list_id,
        subscribe.list_name,
    )
    if not (is_everywhere or same_list):
        return False
    withdrawn = unsubscribe.consented_channels()
    return all(
        channel in withdrawn and _address(unsubscribe, channel) == _address(subscribe, channel)
        for channel in subscribe.consented_channels()
    )


def _address(command: Subscribe | Unsubscribe, channel: str) -> str | None:
    if channel == "email":
        return command.email and command.email.lower()
    return command.phone_number


def _drop(entries: Sequence[Entry], ledger: Ledger) -> Conversation:
    ledger.settle(entries, Dropped(SUPERSEDED))
    yield from ()  # a conversation of no requests


def _sent_alike(leading: Entry) -> Any:
    """Which commands share a job: same kind, list, and what else belongs to the job as a whole."""

    def of(entry: Entry) -> tuple[Any, ...]:
        command: Any = entry.command
        return (
            type(command),
            getattr(command, "list_id", None),
            getattr(command, "list_name", None),
            getattr(command, "source", None),
            getattr(command, "consented_at", None) is not None,
        )

    alike = of(leading)
    return lambda entry: of(entry) == alike


def _first_endpoint(command: Any, situation: Situation) -> str:
    name = getattr(command, "list_name", None)
    if name is not None and name not in situation.lists:
        return limits.GET_LISTS
    if isinstance(command, Unsubscribe) and (name or command.list_id):
        return limits.GET_LIST_PROFILES
    return _JOB_ENDPOINTS[type(command)]


_JOB_ENDPOINTS: dict[type, str] = {
    Subscribe: limits.BULK_SUBSCRIBE,
    Unsubscribe: limits.BULK_UNSUBSCRIBE,
    Suppress: limits.BULK_SUPPRESS,
    Unsuppress: limits.BULK_UNSUPPRESS,
}


def _list_of(
    entries: Sequence[Entry], situation: Situation, ledger: Ledger
) -> Generator[Request, Answer, str | Failure | None]:
    command: Any = entries[0].command
    if command.list_id is None and command.list_name is None:
        return None
    found = yield from find_list(command, situation, ledger)
    return found


def _subscribe(entries: Sequence[Entry], situation: Situation, ledger: Ledger) -> Conversation:
    list_id = yield from _list_of(entries, situation, ledger)
    if isinstance(list_id, Failure):
        refuse_or_wait(entries, list_id, situation, ledger)
        return
    bulk = Bulk(partial(subscribe_request, list_id), _accept, refuse)
    yield from bulk.deliver([Part.of(entry) for entry in entries], ledger)


def subscribe_request(list_id: str | None, parts: Sequence[Part]) -> Request:
    """One subscription job; with consent of an earlier time it is a historical import."""
    first: Subscribe = parts[0].command
    attributes: dict[str, Any] = {
        "profiles": {"data": [_consent_row(part.command, "SUBSCRIBED") for part in parts]}
    }
    if first.source is not None:
        attributes["custom_source"] = first.source
    if first.consented_at is not None:
        attributes["historical_import"] = True
    kind = "profile-subscription-bulk-create-job"
    return _job_request(limits.BULK_SUBSCRIBE, kind, attributes, list_id, len(parts))


def unsubscribe_request(list_id: str | None, parts: Sequence[Part]) -> Request:
    """One unsubscription job."""
    rows = [_consent_row(part.command, "UNSUBSCRIBED") for part in parts]
    kind = "profile-subscription-bulk-delete-job"
    attributes = {"profiles": {"data": rows}}
    return _job_request(limits.BULK_UNSUBSCRIBE, kind, attributes, list_id, len(parts))


def _job_request(
    endpoint: str, kind: str, attributes: dict[str, Any], list_id: str | None, items: int
) -> Request:
    data: dict[str, Any] = {"type": kind, "attributes": attributes}
    if list_id is not None:
        data["relationships"] = {"list": {"data": {"type": "list", "id": list_id}}}
    path = endpoint.partition(" ")[2]
    return Request(endpoint=endpoint, path=path, body=_encode({"data": data}), items=items)


def _consent_row(command: Subscribe | Unsubscribe, consent: str) -> dict[str, Any]:
    marketing: dict[str, Any] = {"consent": consent}
    consented_at = getattr(command, "consented_at", None)
    if consented_at is not None:
        marketing["consented_at"] = consented_at
    channels = command.consented_channels()
    attributes: dict[str, Any] = {
        "subscriptions": {channel: {"marketing": marketing} for channel in channels}
    }
    if command.email is not None:
        attributes["email"] = command.email
    if command.phone_number is not None:
        attributes["phone_number"] = command.phone_number
    return {"type": "profile", "attributes": attributes}


def _accept(_answer: Answer, parts: Sequence[Part], ledger: Ledger) -> None:
    ledger.settle_parts(parts, Delivered())


def _unsubscribe(entries: Sequence[Entry], situation: Situation, ledger: Ledger) -> Conversation:
    list_id = yield from _list_of(entries, situation, ledger)
    if isinstance(list_id, Failure):
        refuse_or_wait(entries, list_id, situation, ledger)
        return
    sent = list(entries)
    if list_id is not None:
        members = yield from _members(list_id, entries)
        if isinstance(members, Failure):
            ledger.refuse(entries, members)
            return
        sent = [entry for entry in entries if not members.isdisjoint(entry.identities)]
        _look_again(entries, sent, situation, ledger)
    if sent:
        bulk = Bulk(partial(unsubscribe_request, list_id), _accept, refuse)
        yield from bulk.deliver([Part.of(entry) for entry in sent], ledger)


def _look_again(
    entries: Sequence[Entry], sent: Sequence[Entry], situation: Situation, ledger: Ledger
) -> None:
    for entry in entries:
        if entry in sent:
            continue
        settled_at = entry.envelope.at / 1000 + MEMBERSHIP_SETTLES_SECONDS
        if situation.now >= settled_at:
            ledger.settle((entry,), Dropped(NOT_ON_LIST))
        else:
            until = min(situation.now + LOOK_AGAIN_SECONDS, settled_at)
            ledger.settle((entry,), Parked(until, NOT_ON_LIST))


def _members(
    list_id: str, entries: Sequence[Entry]
) -> Generator[Request, Answer, set[str] | Failure]:
    """Which of the addresses and numbers belong to members of the list, as identities."""
    members: set[str] = set()
    for name in ("email", "phone_number"):
        values = [v for e in entries if (v := getattr(e.command, name)) is not None]
        for at in range(0, len(values), FILTER_MOST):
            answer = yield members_request(list_id, name, values[at : at + FILTER_MOST])
            if not answer.is_accepted:
                return failures_of(answer.status, answer.document())[0]
            for profile in answer.document().get("data", ()):
                members.update(_identities_of_profile(profile.get("attributes") or {}))
    return members


def members_request(list_id: str, name: str, values: Sequence[str]) -> Request:
    """GET a list's members among some addresses or numbers."""
    return Request(
        endpoint=limits.GET_LIST_PROFILES,
        path=f"/api/lists/{list_id}/profiles?filter={any_filter(name, values)}"
        "&fields%5Bprofile%5D=email,phone_number&page%5Bsize%5D=100",
    )


def _identities_of_profile(attributes: dict[str, Any]) -> list[str]:
    found = []
    if attributes.get("email"):
        found.append(f"email:{attributes['email'].lower()}")
    if attributes.get("phone_number"):
        found.append(f"phone:{attributes['phone_number']}")
    return found


def _suppress(entries: Sequence[Entry], _situation: Situation, ledger: Ledger) -> Conversation:
    bulk = Bulk(suppression_request, _accept, refuse)
    yield from bulk.deliver([Part.of(entry) for entry in entries], ledger)


def suppression_request(parts: Sequence[Part]) -> Request:
    """One suppression or unsuppression job."""
    endpoint = _JOB_ENDPOINTS[type(parts[0].command)]
    kind = "profile-suppression-bulk-create-job"
    if isinstance(parts[0].command, Unsuppress):
        kind = "profile-suppression-bulk-delete-job"
    rows = [{"type": "profile", "attributes": {"email": part.command.email}} for part in parts]
    return _job_request(endpoint, kind, {"profiles": {"data": rows}}, None, len(parts))


_CONVERSATIONS: dict[type, Any] = {
    Subscribe: _subscribe,
    Unsubscribe: _unsubscribe,
    Suppress: _suppress,
    Unsuppress: _suppress,
}
