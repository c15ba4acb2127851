"""Consent: unsubscribes before everything, and never wider than they were meant.

Klaviyo unsubscribes a profile *globally* if it is not on the list that an unsubscribe names
(OpenAPI 2026-07-15). So members are looked up first and only they are sent. A profile that is not a
member may have a subscribe of its own still under way, which Klaviyo applies some time after its
202; it is looked at again for half an hour, then the unsubscribe is dropped by the rule
`not_on_list`. Who leaves the list between the look-up and the unsubscribe is unsubscribed globally:
Klaviyo has no request that does both at once.

A subscribe is checked against the consent clock when it is planned and again just before it is
sent, and a late one against Klaviyo, too; what is withdrawn since is not sent.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from klaviyo_relay.commands import Channel, Command, Subscribe, Suppress, Unsubscribe, Unsuppress
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Dropped, Failure, Parked, Parking, Rule
from klaviyo_relay_worker.plan.batch import (
    BODY_MAX_BYTES,
    ITEM_OVERHEAD_BYTES,
    Batch,
    Conversation,
    Entry,
    Ledger,
    Part,
    Situation,
    decided,
    identity,
    take_in_order,
)
from klaviyo_relay_worker.plan.ladder import Bulk, accept, refuse
from klaviyo_relay_worker.plan.lists import any_filter, by_known_name, find_list, refuse_or_wait
from klaviyo_relay_worker.plan.lookup import Found, look_up
from klaviyo_relay_worker.plan.subscriptions import is_late, wanted_at_klaviyo
from klaviyo_relay_worker.plan.withdrawals import (
    ConsentFacts,
    addresses_of,
    place_of,
    place_of_list,
    still_wanted,
)

# Profiles in a job (OpenAPI 2026-07-15: "Bulk Subscribe Profiles"; the other bulk jobs of consent).
SUBSCRIBE_MOST = 1_000
OTHERS_MOST = 100
# Klaviyo asks for at most one subscribe job a profile in 30 minutes ("Bulk Subscribe Profiles"):
# after that it has settled.
MEMBERSHIP_SETTLES_SECONDS = 30 * 60
LOOK_AGAIN_SECONDS = 60.0
_ADDRESSES = ("email", "phone_number")

_encode = msgspec.json.Encoder().encode


def _facts(situation: Situation) -> ConsentFacts:
    facts: ConsentFacts = situation.facts or ConsentFacts()
    return facts


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """Drops what is superseded; else unsubscribes first; else the oldest and what fits with it."""
    superseded = superseded_entries(entries, situation)
    if superseded:
        return [decided([(entry, Dropped(Rule.SUPERSEDED)) for entry in superseded])]
    held = situation.held_from_unsubscribe
    held = situation.held if held is None else held
    leading = _first(entries, held, Unsubscribe)
    if leading is None:
        held = situation.held
        leading = _first(entries, held, Command)
    if leading is None:
        return []
    most = SUBSCRIBE_MOST if isinstance(leading.command, Subscribe) else OTHERS_MOST
    parts, is_full = _take(entries, held, _sent_alike(leading, situation.now), most)
    chosen = _entries_of(parts)
    converse = partial(_CONVERSATIONS[type(leading.command)], parts, situation)
    converse = partial(by_known_name, converse, chosen, situation)
    return [Batch(_first_endpoint(leading, situation), chosen, converse, is_full)]


def _first(entries: Sequence[Entry], held: frozenset[str], kind: type[Command]) -> Entry | None:
    """The oldest command of a kind whose profile need not wait."""
    found, _ = take_in_order(entries, held, lambda entry: isinstance(entry.command, kind), 1)
    return found[0] if found else None


def superseded_entries(entries: Sequence[Entry], situation: Situation) -> list[Entry]:
    """Subscribes of which a withdrawal takes back all that they asked for."""
    withdrawals = _facts(situation).withdrawals
    return [
        entry
        for entry in entries
        if isinstance(entry.command, Subscribe)
        and not _remaining(
            entry, withdrawals.withdrawn(entry, place_of(entry.command), situation.lists)
        )
    ]


def _remaining(entry: Entry, withdrawn: set[Channel]) -> tuple[Channel, ...]:
    command: Any = entry.command
    return tuple(channel for channel in command.consented_channels() if channel not in withdrawn)


def _take(
    entries: Sequence[Entry], held: frozenset[str], wanted: Any, most: int
) -> tuple[list[Part], bool]:
    """As `take_in_order`, but what is asked again in the same words is one part."""
    closed = set(held)
    at_of: dict[str, int] = {}
    parts: list[Part] = []
    room = BODY_MAX_BYTES
    for entry in entries:
        names = entry.identities
        if not closed.isdisjoint(names) or not wanted(entry):
            closed.update(names)
            continue
        if not at_of.keys().isdisjoint(names):
            if not _join(parts, at_of, entry):
                closed.update(names)
            continue
        room -= entry.size + ITEM_OVERHEAD_BYTES
        if room < 0 and parts:
            return parts, True
        at_of.update(dict.fromkeys(names, len(parts)))
        parts.append(Part.of(entry))
        if len(parts) == most:
            return parts, True
    return parts, False


def _join(parts: list[Part], at_of: Mapping[str, int], entry: Entry) -> bool:
    """Add what is asked again in the same words to its part; returns whether it was."""
    at = min(at_of[name] for name in entry.identities if name in at_of)
    part = parts[at]
    if part.command != entry.command:
        return False
    parts[at] = Part((*part.entries, entry), part.command)
    return True


def _entries_of(parts: Sequence[Part]) -> list[Entry]:
    return [entry for part in parts for entry in part.entries]


def _sent_alike(leading: Entry, now: float) -> Any:
    """Which commands share a job: same kind, list, and what else belongs to the job as a whole."""

    def of(entry: Entry) -> tuple[Any, ...]:
        command: Any = entry.command
        return (
            type(command),
            getattr(command, "list_id", None),
            getattr(command, "list_name", None),
            getattr(command, "source", None),
            getattr(command, "consented_at", None) is not None,
            type(command) is Subscribe and is_late(entry, now),
        )

    alike = of(leading)
    return lambda entry: of(entry) == alike


def _first_endpoint(leading: Entry, situation: Situation) -> str:
    command: Any = leading.command
    name = getattr(command, "list_name", None)
    if name is not None and name not in situation.lists:
        return limits.GET_LISTS
    if isinstance(command, Unsubscribe) and (name or command.list_id):
        return limits.GET_LIST_PROFILES
    if isinstance(command, Subscribe) and is_late(leading, situation.now):
        return limits.GET_PROFILES
    return _JOB_ENDPOINTS[type(command)]


_JOB_ENDPOINTS: dict[type, str] = {
    Subscribe: limits.BULK_SUBSCRIBE,
    Unsubscribe: limits.BULK_UNSUBSCRIBE,
    Suppress: limits.BULK_SUPPRESS,
    Unsuppress: limits.BULK_UNSUPPRESS,
}


def _list_of(
    parts: Sequence[Part], situation: Situation, ledger: Ledger
) -> Generator[Request, Answer, str | Failure | None]:
    command: Any = parts[0].command
    if command.list_id is None and command.list_name is None:
        return None
    found = yield from find_list(command, situation, ledger)
    return found


def _subscribe(parts: Sequence[Part], situation: Situation, ledger: Ledger) -> Conversation:
    list_id = yield from _list_of(parts, situation, ledger)
    if isinstance(list_id, Failure):
        refuse_or_wait(_entries_of(parts), list_id, situation, ledger)
        return
    withdrawals = _facts(situation).withdrawals
    if is_late(parts[0].entries[0], situation.now):
        parts = yield from wanted_at_klaviyo(parts, list_id, withdrawals, ledger)
    lists = {**situation.lists, **{n: found for n, found in ledger.lists.items() if found}}
    wanted = still_wanted(parts, place_of_list(list_id), withdrawals, lists, ledger)
    if wanted:
        bulk = Bulk(partial(subscribe_request, list_id), accept, refuse)
        yield from bulk.deliver(wanted, ledger)


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


def _unsubscribe(parts: Sequence[Part], situation: Situation, ledger: Ledger) -> Conversation:
    list_id = yield from _list_of(parts, situation, ledger)
    if isinstance(list_id, Failure):
        refuse_or_wait(_entries_of(parts), list_id, situation, ledger)
        return
    if list_id is not None:
        parts = yield from _members_of(list_id, parts, situation, ledger)
    if parts:
        bulk = Bulk(partial(unsubscribe_request, list_id), accept, refuse)
        yield from bulk.deliver(parts, ledger)


def _members_of(
    list_id: str, parts: Sequence[Part], situation: Situation, ledger: Ledger
) -> Generator[Request, Answer, list[Part]]:
    """The parts whose profile is on the list; the others are looked at again, or dropped."""
    members: set[str] = set()
    failures: dict[str, Failure] = {}
    for name in _ADDRESSES:
        found = yield from _look_for_members(list_id, name, parts)
        failures.update({identity(name, value): why for value, why in found.failures.items()})
        for profile in found.profiles:
            members.update(_identities_of_profile(profile.get("attributes") or {}))
    sent = []
    for part in parts:
        identities = part.entries[0].identities
        why = next((failures[who] for who in identities if who in failures), None)
        if why is not None:
            ledger.refuse(part.entries, why)
        elif channels := _channels_of_members(part.command, members):
            sent.append(Part(part.entries, _narrowed(part.command, channels)))
        else:
            _look_again(part.entries, situation, ledger)
    return sent


def _look_for_members(
    list_id: str, name: str, parts: Sequence[Part]
) -> Generator[Request, Answer, Found]:
    found = Found()
    values = [v for part in parts if (v := getattr(part.command, name)) is not None]
    yield from look_up(name, values, partial(members_request, list_id, name), found)
    return found


def _channels_of_members(command: Unsubscribe, members: set[str]) -> tuple[Channel, ...]:
    """The channels of the addresses that are on the list; a stranger's would end everywhere."""
    return tuple(channel for channel, address in addresses_of(command) if address in members)


def _narrowed(command: Unsubscribe, channels: tuple[Channel, ...]) -> Unsubscribe:
    return replace(
        command,
        channels=channels,
        email=command.email if "email" in channels else None,
        phone_number=command.phone_number if "sms" in channels else None,
    )


def _look_again(entries: Sequence[Entry], situation: Situation, ledger: Ledger) -> None:
    for entry in entries:
        settles_at = settles_at_of(entry, situation.now)
        if situation.now < settles_at:
            until = min(situation.now + LOOK_AGAIN_SECONDS, settles_at)
            ledger.settle((entry,), Parked(until, Parking.NOT_ON_LIST))
        elif entry.key in _facts(situation).joining:
            ledger.settle((entry,), Parked(situation.now + LOOK_AGAIN_SECONDS, Parking.NOT_ON_LIST))
        else:
            ledger.settle((entry,), Dropped(Rule.NOT_ON_LIST))


def settles_at_of(entry: Entry, now: float, joined: float = 0.0) -> float:
    """Until when nobody knows whether a profile will be on the list, in seconds since 1970.

    Half an hour from the unsubscribe itself, from when it was first looked at (what came into a
    lane late may speak of a subscribe that was delivered a moment ago) and from our last join.

    Args:
        joined: when we last made the profile a member, in seconds since 1970.
    """
    latest = max(entry.envelope.at / 1000, entry.parked_at or now, joined)
    return latest + MEMBERSHIP_SETTLES_SECONDS


def members_request(list_id: str, name: str, values: Sequence[str]) -> Request:
    """GET a list's members among some addresses or numbers."""
    return Request(
        endpoint=limits.GET_LIST_PROFILES,
        path=f"/api/lists/{list_id}/profiles?filter={any_filter(name, values)}"
        "&fields%5Bprofile%5D=email,phone_number&page%5Bsize%5D=100",
    )


def _identities_of_profile(attributes: dict[str, Any]) -> list[str]:
    return [identity(name, value) for name in _ADDRESSES if (value := attributes.get(name))]


def _suppress(parts: Sequence[Part], _situation: Situation, ledger: Ledger) -> Conversation:
    yield from Bulk(suppression_request, accept, refuse).deliver(parts, ledger)


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
