"""Privacy: deletion requests, one a request, as Klaviyo takes them.

A deletion goes out once nothing older of that person may still reach Klaviyo, and is looked at
again after ten minutes: what arrived at Klaviyo before it may have been applied after it. So it is
with an unknown profile (404), too: Klaviyo may yet make it of an event that it took a minute ago.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from klaviyo_relay.commands import DeleteProfile
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Delivered, Dropped, Outcome, Parked, Parking, Rule
from klaviyo_relay_worker.plan.batch import (
    Batch,
    Conversation,
    Entry,
    Ledger,
    Situation,
    decided,
    identities,
    refusal_of,
)
from klaviyo_relay_worker.plan.lists import any_filter

# Klaviyo allows 3 deletions a second (`limits`, DELETE_PROFILE).
AT_ONCE_MOST = 3
CHECK_AGAIN_SECONDS = 600.0
IN_FLIGHT_AGAIN_SECONDS = 2.0
_FILTERS = (("profile_id", "id"), ("email", "email"), ("phone_number", "phone_number"))

_encode = msgspec.json.Encoder().encode


class Deletion(Struct, frozen=True):
    """What is known of a deletion beside the command.

    Attributes:
        is_under_way: something older of the person may still reach Klaviyo.
        is_accepted: Klaviyo has accepted it; this is the look after ten minutes.
        has_returned: newer commands of the person were let through since.
        is_superseded: there is a newer deletion of the same person.
    """

    is_under_way: bool = False
    is_accepted: bool = False
    has_returned: bool = False
    is_superseded: bool = False


_NOTHING_KNOWN = Deletion()


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """The oldest ones, each by itself. Deletions need not wait for each other."""
    if not situation.is_idle:
        return []
    facts: Mapping[str, Deletion] = situation.facts or {}
    return [
        _batch(entry, facts.get(entry.key, _NOTHING_KNOWN), situation.now)
        for entry in entries[:AT_ONCE_MOST]
    ]


def _batch(entry: Entry, deletion: Deletion, now: float) -> Batch:
    outcome = _without_asking(deletion, now)
    if outcome is not None:
        return decided([(entry, outcome)])
    if deletion.is_accepted:
        converse = partial(_check, entry, has_returned=deletion.has_returned)
        return Batch(limits.GET_PROFILES, (entry,), converse)
    return Batch(limits.DELETE_PROFILE, (entry,), partial(_deliver, entry, now))


def _without_asking(deletion: Deletion, now: float) -> Outcome | None:
    """What becomes of a deletion for which Klaviyo need not, or must not yet, be asked."""
    if deletion.is_superseded:
        return Dropped(Rule.SUPERSEDED)
    if deletion.is_under_way and not deletion.is_accepted:
        return Parked(now + IN_FLIGHT_AGAIN_SECONDS, Parking.IN_FLIGHT)
    return None


def identity_of(command: DeleteProfile) -> str:
    """The one identifier, as `plan.batch.identities` writes it."""
    [found] = identities(command)
    return found


def deletion_request(command: DeleteProfile) -> Request:
    """POST /api/data-privacy-deletion-jobs with exactly one identifier."""
    profile: dict[str, Any] = {"type": "profile", "attributes": {}}
    if command.profile_id is not None:
        profile["id"] = command.profile_id
    for name in ("email", "phone_number"):
        if getattr(command, name) is not None:
            profile["attributes"][name] = getattr(command, name)
    data = {"type": "data-privacy-deletion-job", "attributes": {"profile": {"data": profile}}}
    path = "/api/data-privacy-deletion-jobs"
    return Request(endpoint=limits.DELETE_PROFILE, path=path, body=_encode({"data": data}))


def check_request(command: DeleteProfile) -> Request:
    """GET the profiles that have the identifier."""
    name, value = next(
        (name, value) for field, name in _FILTERS if (value := getattr(command, field)) is not None
    )
    path = f"/api/profiles?filter={any_filter(name, [value])}"
    return Request(endpoint=limits.GET_PROFILES, path=path)


def _deliver(entry: Entry, now: float, ledger: Ledger) -> Conversation:
    command: DeleteProfile = entry.command  # type: ignore[assignment]  # the lane has no other
    answer = yield deletion_request(command)
    if _is_gone(answer):
        ledger.settle((entry,), Parked(now + CHECK_AGAIN_SECONDS, Parking.CHECKED_AGAIN))
    else:
        ledger.refuse((entry,), refusal_of(answer))


def _check(entry: Entry, ledger: Ledger, *, has_returned: bool) -> Conversation:
    """Ask once more where an older command has brought the profile back."""
    command: DeleteProfile = entry.command  # type: ignore[assignment]  # the lane has no other
    if not has_returned:
        answer = yield check_request(command)
        if answer.is_accepted and answer.document().get("data"):
            answer = yield deletion_request(command)
        if not _is_gone(answer):
            ledger.refuse((entry,), refusal_of(answer))
            return
    ledger.settle((entry,), Delivered())


def _is_gone(answer: Answer) -> bool:
    return answer.is_accepted or answer.status == 404
