"""Events: singles for a few, bulk for a backlog."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import msgspec

from klaviyo_relay.envelope import ReceivedTrack
from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Delivered, Failure, failures_of
from klaviyo_relay_worker.plan.batch import (
    BODY_MAX_BYTES,
    ITEM_OVERHEAD_BYTES,
    Batch,
    Conversation,
    Entry,
    Ledger,
    Part,
    Situation,
)
from klaviyo_relay_worker.plan.ladder import Bulk

# Klaviyo: at most 1,000 events a bulk request (guide "Bulk create events").
BULK_MOST = 1_000
# Up to this many go singly and at the same time: the fastest and most precise answer.
SINGLES_MOST = 4

_encode = msgspec.json.Encoder().encode


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """Singles if the lane is idle and holds a few, otherwise one bulk batch of the oldest."""
    if situation.is_idle and len(entries) <= SINGLES_MOST:
        return [
            Batch(limits.CREATE_EVENT, (entry,), partial(_deliver_single, Part.of(entry)))
            for entry in entries
        ]
    chosen, is_full = _take(entries)
    parts = [Part.of(entry) for entry in chosen]
    return [
        Batch(limits.BULK_CREATE_EVENTS, chosen, partial(_BULK.deliver, parts), is_full)
    ] if chosen else []  # fmt: skip


def _take(entries: Sequence[Entry]) -> tuple[list[Entry], bool]:
    """The oldest that fit, none of them repeating another's (profile, metric, unique_id).

    Klaviyo refuses a bulk request as a whole for such a repeat (OpenAPI 2026-07-15).
    """
    chosen: list[Entry] = []
    given: set[tuple[str, str, str]] = set()
    room = BODY_MAX_BYTES
    for entry in entries:
        track: Any = entry.command
        if track.unique_id is not None:
            repeats = {(who, track.metric, track.unique_id) for who in entry.identities}
            if not given.isdisjoint(repeats):
                continue
            given |= repeats
        room -= entry.size + ITEM_OVERHEAD_BYTES
        if room < 0 and chosen:
            return chosen, True
        chosen.append(entry)
        if len(chosen) == BULK_MOST:
            return chosen, True
    return chosen, False


def single_request(part: Part) -> Request:
    """POST /api/events for one event."""
    entry = part.entries[0]
    track: ReceivedTrack = part.command
    attributes = _event_attributes(entry, track)
    attributes["profile"] = {"data": _profile(track)}
    body = {"data": {"type": "event", "attributes": attributes}}
    return Request(endpoint=limits.CREATE_EVENT, path="/api/events", body=_encode(body))


def bulk_request(parts: Sequence[Part]) -> Request:
    """One request for many events, one an entry, so that a pointer's index names the event."""
    body = {
        "data": {
            "type": "event-bulk-create-job",
            "attributes": {"events-bulk-create": {"data": [_item(part) for part in parts]}},
        }
    }
    return Request(
        endpoint=limits.BULK_CREATE_EVENTS,
        path="/api/event-bulk-create-jobs",
        body=_encode(body),
        items=len(parts),
    )


def _item(part: Part) -> dict[str, Any]:
    track: ReceivedTrack = part.command
    event = {"type": "event", "attributes": _event_attributes(part.entries[0], track)}
    return {
        "type": "event-bulk-create",
        "attributes": {"profile": {"data": _profile(track)}, "events": {"data": [event]}},
    }


def _event_attributes(entry: Entry, track: ReceivedTrack) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "properties": track.properties,
        "time": track.time or _second(entry.envelope.at // 1000),
        "unique_id": track.unique_id or entry.envelope.id,
        "metric": {"data": {"type": "metric", "attributes": {"name": track.metric}}},
    }
    if track.value is not None:
        attributes["value"] = track.value
    if track.value_currency is not None:
        attributes["value_currency"] = track.value_currency
    if track.backfill is not None:
        attributes["backfill"] = track.backfill
    return attributes


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """When a command was enqueued, to the second, as Klaviyo keeps it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _profile(track: ReceivedTrack) -> dict[str, Any]:
    attributes = {
        name: value
        for name, value in (
            ("email", track.email),
            ("phone_number", track.phone_number),
            ("external_id", track.external_id),
            ("anonymous_id", track.anonymous_id),
        )
        if value is not None
    }
    profile: dict[str, Any] = {"type": "profile", "attributes": attributes}
    if track.profile_id is not None:
        profile["id"] = track.profile_id
    return profile


def _deliver_single(part: Part, ledger: Ledger) -> Conversation:
    answer = yield single_request(part)
    if answer.is_accepted:
        ledger.settle(part.entries, Delivered())
    else:
        ledger.refuse(part.entries, failures_of(answer.status, answer.document())[0])


def _accept(_answer: Answer, parts: Sequence[Part], ledger: Ledger) -> None:
    ledger.settle_parts(parts, Delivered())


def _judge_alone(part: Part, failure: Failure, ledger: Ledger) -> Conversation:
    """The last word on an event.

    A bulk request is refused for a unique_id that Klaviyo has seen before, which is what a resend
    after a lost answer looks like; the single endpoint keeps the first one and answers 202.
    """
    if "unique_id" in failure.pointer or "unique_id" in failure.detail:
        yield from _deliver_single(part, ledger)
    else:
        ledger.refuse(part.entries, failure)


_BULK = Bulk(bulk_request, _accept, _judge_alone)
