"""Privacy: deletion requests, one a request, as Klaviyo takes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from klaviyo_relay.commands import DeleteProfile
from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.outcome import Delivered, failures_of
from klaviyo_relay_worker.plan.batch import (
    Batch,
    Conversation,
    Entry,
    Ledger,
    Situation,
    take_in_order,
)

# Klaviyo allows 3 deletions a second.
AT_ONCE_MOST = 3

_encode = msgspec.json.Encoder().encode


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """The oldest ones, each by itself."""
    chosen, _ = take_in_order(entries, situation.held, lambda _: True, AT_ONCE_MOST)
    if not situation.is_idle:
        return []
    return [Batch(limits.DELETE_PROFILE, (entry,), partial(_deliver, entry)) for entry in chosen]


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


def _deliver(entry: Entry, ledger: Ledger) -> Conversation:
    command: DeleteProfile = entry.command  # type: ignore[assignment]
    answer = yield deletion_request(command)
    if answer.is_accepted or answer.status == 404:  # an unknown profile is what was asked for
        ledger.settle((entry,), Delivered())
    else:
        ledger.refuse((entry,), failures_of(answer.status, answer.document())[0])
