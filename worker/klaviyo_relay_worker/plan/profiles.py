"""Profiles: single upserts for a few and for clearing, import jobs for a backlog."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from klaviyo_relay.commands import PROFILE_ATTRIBUTES, Identify
from klaviyo_relay.validation import LOCATION_FIELDS
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Failure, Following
from klaviyo_relay_worker.plan.batch import (
    BODY_MAX_BYTES,
    ITEM_OVERHEAD_BYTES,
    Batch,
    Conversation,
    Entry,
    Ledger,
    Part,
    Situation,
    take_in_order,
)
from klaviyo_relay_worker.plan.coalesce import coalesce
from klaviyo_relay_worker.plan.ladder import Bulk

# Klaviyo: at most 10,000 profiles an import job (guide "Bulk profile import").
BULK_MOST = 10_000
SINGLES_MOST = 4
# Attributes that only null clears; an import job ignores null (guide "Bulk profile import"), the
# single endpoint does not ("Create or Update Profile").
_CLEARED_BY_NULL = frozenset((*PROFILE_ATTRIBUTES, "location"))
# The location itself may not be null, only its members (OpenAPI 2026-07-15).
_NO_LOCATION = dict.fromkeys(sorted(LOCATION_FIELDS))

_encode = msgspec.json.Encoder().encode


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """Singles if the lane is idle and holds a few, otherwise an import job of the oldest."""
    singles, _ = take_in_order(entries, situation.held, _needs_single, SINGLES_MOST)
    if situation.is_idle and len(entries) <= SINGLES_MOST:
        singles, _ = take_in_order(entries, situation.held, _any, SINGLES_MOST)
    if singles:
        return [_single(Part.of(entry)) for entry in singles]
    parts, is_full = _take(entries, situation.held)
    if not parts:
        return []
    chosen = [entry for part in parts for entry in part.entries]
    return [
        Batch(limits.BULK_IMPORT_PROFILES, chosen, partial(_BULK.deliver, parts), is_full)
    ]  # fmt: skip


def _any(_entry: Entry) -> bool:
    return True


def _needs_single(entry: Entry) -> bool:
    unset = getattr(entry.command, "unset", None)
    return unset is not None and not _CLEARED_BY_NULL.isdisjoint(unset)


def _single(part: Part) -> Batch:
    """Never waits for a batch to grow."""
    deliver = partial(_deliver_single, part)
    return Batch(limits.IMPORT_PROFILE, part.entries, deliver, is_full=True)


def _take(entries: Sequence[Entry], held: frozenset[str]) -> tuple[list[Part], bool]:
    """The oldest that fit, one row a profile; later ones of a profile are coalesced or wait."""
    rows = _Rows(held)
    room = BODY_MAX_BYTES
    for entry in entries:
        names = entry.identities
        place = rows.place_of(entry, names)
        if place is None:
            continue
        room -= entry.size + ITEM_OVERHEAD_BYTES
        if room < 0 and rows.parts:
            return rows.parts, True
        rows.put(place, names)
        if len(rows.parts) == BULK_MOST:
            return rows.parts, True
    return rows.parts, False


class _Rows:
    """The rows of an import job while it is planned.

    Attributes:
        parts: what each row carries.
    """

    def __init__(self, held: frozenset[str]) -> None:
        self._waiting = set(held)
        self._at_of: dict[str, int] = {}
        self.parts: list[Part] = []

    def place_of(self, entry: Entry, names: tuple[str, ...]) -> tuple[int, Part] | None:
        """The row for an entry of these identities, and what it carries then; None if it waits."""
        place = None
        if self._waiting.isdisjoint(names) and not _needs_single(entry):
            place = self._new_or_shared(entry, names)
        if place is None:
            self._waiting.update(names)
        return place

    def put(self, place: tuple[int, Part], names: tuple[str, ...]) -> None:
        """Take an entry in."""
        at, part = place
        if at < len(self.parts):
            self.parts[at] = part
        else:
            self._at_of.update(dict.fromkeys(names, at))
            self.parts.append(part)

    def _new_or_shared(self, entry: Entry, names: tuple[str, ...]) -> tuple[int, Part] | None:
        if self._at_of.keys().isdisjoint(names):
            return len(self.parts), Part.of(entry)
        taken = {self._at_of[name] for name in names if name in self._at_of}
        if len(taken) > 1:
            return None
        [at] = taken
        part = _joined(self.parts[at], entry)
        return None if part is None else (at, part)


def _joined(part: Part, entry: Entry) -> Part | None:
    command = coalesce(part.command, entry.command)  # type: ignore[arg-type]  # the lane has no other
    return None if command is None else Part((*part.entries, entry), command)


def single_request(part: Part) -> Request:
    """POST /api/profile-import for one profile."""
    identify: Identify = part.command
    resource = profile_resource(identify)
    for name in identify.unset or ():
        if name in _CLEARED_BY_NULL:
            resource["attributes"][name] = _NO_LOCATION if name == "location" else None
    return Request(
        endpoint=limits.IMPORT_PROFILE,
        path="/api/profile-import",
        body=_encode({"data": resource}),
    )


def bulk_request(parts: Sequence[Part]) -> Request:
    """One import job for many profiles."""
    return import_request([profile_resource(part.command) for part in parts], None)


def import_request(resources: list[dict[str, Any]], list_id: str | None) -> Request:
    """An import job, which may also make the profiles members of a list."""
    job: dict[str, Any] = {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": resources}},
    }
    if list_id is not None:
        job["relationships"] = {"lists": {"data": [{"type": "list", "id": list_id}]}}
    return Request(
        endpoint=limits.BULK_IMPORT_PROFILES,
        path="/api/profile-bulk-import-jobs",
        body=_encode({"data": job}),
        items=len(resources),
    )


def profile_resource(identify: Identify) -> dict[str, Any]:
    """A profile as both import endpoints take it; clearing by null is the caller's."""
    attributes = {
        name: value
        for name in ("email", "phone_number", "external_id", *PROFILE_ATTRIBUTES, "location")
        if (value := getattr(identify, name)) is not None
    }
    if identify.properties:
        attributes["properties"] = identify.properties
    resource: dict[str, Any] = {"type": "profile", "attributes": attributes}
    if identify.profile_id is not None:
        resource["id"] = identify.profile_id
    patch = _patch(identify)
    if patch:
        resource["meta"] = {"patch_properties": patch}
    return resource


def _patch(identify: Identify) -> dict[str, Any]:
    unset = [name for name in identify.unset or () if name not in _CLEARED_BY_NULL]
    found = (("append", identify.append), ("unappend", identify.unappend), ("unset", unset))
    return {name: value for name, value in found if value}


def _deliver_single(part: Part, ledger: Ledger) -> Conversation:
    answer = yield single_request(part)
    ledger.settle_by(answer, part.entries)


def accept_job(answer: Answer, parts: Sequence[Part], ledger: Ledger) -> None:
    """The rows are Klaviyo's now, to be followed to the job's end."""
    job_id = str(answer.document()["data"]["id"])
    for row, part in enumerate(parts):
        ledger.settle(part.entries, Following(job_id, row))


def _judge_alone(part: Part, failure: Failure, ledger: Ledger) -> Conversation | None:
    """Un-coalesce first: each command by itself, in order, is accepted or refused on its own."""
    if len(part.entries) == 1:
        ledger.refuse(part.entries, failure)
        return None
    return _deliver_in_turn(part, ledger)


def _deliver_in_turn(part: Part, ledger: Ledger) -> Conversation:
    for entry in part.entries:
        yield from _deliver_single(Part.of(entry), ledger)


_BULK = Bulk(bulk_request, accept_job, _judge_alone)
