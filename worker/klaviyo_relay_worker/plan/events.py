"""Events: singles for a few, bulk for a backlog."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec import Struct

from klaviyo_relay.envelope import ReceivedTrack
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.outcome import Failure
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
from klaviyo_relay_worker.plan.ladder import Bulk, accept

# Klaviyo: at most 1,000 events a bulk request (guide "Bulk create events").
BULK_MOST = 1_000
# Up to this many go singly and at the same time: the fastest and most precise answer.
SINGLES_MOST = 4
# Of those that must go singly so many are planned at once.
_SINGLY_MOST = 50

_encode = msgspec.json.Encoder().encode


def choose(entries: Sequence[Entry], situation: Situation) -> list[Batch]:
    """Singles if the lane is idle and holds a few, otherwise one bulk batch of the oldest."""
    if situation.is_idle and len(entries) <= SINGLES_MOST:
        return [_single(entry) for entry in entries]
    if situation.singly:
        singly = [entry for entry in entries if entry.key in situation.singly]
        if singly:
            return [_single(entry) for entry in singly[:_SINGLY_MOST]]
    chosen, is_full = _take(entries)
    if not chosen:
        return []
    return [Batch(limits.BULK_CREATE_EVENTS, chosen, partial(_deliver_bulk, chosen), is_full)]


def _single(entry: Entry) -> Batch:
    """Never waits for a batch to grow."""
    deliver = partial(_deliver_single, Part.of(entry))
    return Batch(limits.CREATE_EVENT, (entry,), deliver, is_full=True)


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
    attributes = _event_attributes(part)
    attributes.profile = _Data(_profile(part.command))
    return Request(
        endpoint=limits.CREATE_EVENT,
        path="/api/events",
        body=_encode(_Data(_Event(attributes))),
    )


def bulk_request(parts: Sequence[Part]) -> Request:
    """One request for many events, one an entry, so that a pointer's index names the event."""
    job = {
        "type": "event-bulk-create-job",
        "attributes": {"events-bulk-create": _Data([_item(part) for part in parts])},
    }
    return Request(
        endpoint=limits.BULK_CREATE_EVENTS,
        path="/api/event-bulk-create-jobs",
        body=_encode(_Data(job)),
        items=len(parts),
    )


def _item(part: Part) -> _Item:
    event = _Event(_event_attributes(part))
    return _Item(_ItemAttributes(_Data(_profile(part.command)), _Data((event,))))


def _event_attributes(part: Part) -> _EventAttributes:
    track: ReceivedTrack = part.command
    envelope = part.entries[0].envelope
    return _EventAttributes(
        track.properties,
        track.time or _second(envelope.at // 1000),
        track.unique_id or envelope.id,
        _metric(track.metric),
        track.value,
        track.value_currency,
        track.backfill,
    )


def _profile(track: ReceivedTrack) -> _Profile:
    identifiers = _Identifiers(
        track.email, track.phone_number, track.external_id, track.anonymous_id
    )
    return _Profile(identifiers, track.profile_id)


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """When a command was enqueued, to the second, as Klaviyo keeps it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@lru_cache(maxsize=1024)
def _metric(name: str) -> msgspec.Raw:
    metric = {"data": {"type": "metric", "attributes": {"name": name}}}
    return msgspec.Raw(_encode(metric))


# The shapes of Klaviyo's request bodies (OpenAPI 2026-07-15). Structs, not dicts, and out of the
# garbage collector's sight (they hold no cycles): a backlog is written at half the cost.


class _Data(Struct, gc=False):
    data: Any


class _Identifiers(Struct, omit_defaults=True, gc=False):
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    anonymous_id: str | None = None


class _Profile(Struct, omit_defaults=True, tag_field="type", tag="profile", gc=False):
    attributes: _Identifiers
    id: str | None = None


class _EventAttributes(Struct, omit_defaults=True, gc=False):
    properties: msgspec.Raw
    time: str
    unique_id: str
    metric: msgspec.Raw
    value: int | float | None = None
    value_currency: str | None = None
    backfill: bool | None = None
    profile: _Data | None = None


class _Event(Struct, tag_field="type", tag="event", gc=False):
    attributes: _EventAttributes


class _ItemAttributes(Struct, gc=False):
    profile: _Data
    events: _Data


class _Item(Struct, tag_field="type", tag="event-bulk-create", gc=False):
    attributes: _ItemAttributes


def _deliver_single(part: Part, ledger: Ledger) -> Conversation:
    answer = yield single_request(part)
    ledger.settle_by(answer, part.entries)


def _deliver_bulk(entries: Sequence[Entry], ledger: Ledger) -> Conversation:
    yield from _BULK.deliver([Part.of(entry) for entry in entries], ledger)


def _judge_alone(part: Part, failure: Failure, ledger: Ledger) -> Conversation | None:
    """The last word on an event.

    A bulk request may be refused for a unique_id that Klaviyo has seen before, which is what a
    resend after a lost answer looks like (docs and OpenAPI of 2026-07-15 disagree). The single
    endpoint keeps the first one and answers 202. One refused event may be one of a thousand, so
    it goes out singly beside others, not within this conversation.
    """
    if _is_repeat(failure):
        ledger.singly.update(entry.key for entry in part.entries)
        return None
    if _NAMES_ITEM.match(failure.pointer):
        ledger.refuse(part.entries, failure)
        return None
    return _try_singly(part, ledger)


def _try_singly(part: Part, ledger: Ledger) -> Conversation:
    """Klaviyo did not say what is wrong, so it may be a repeat all the same."""
    answer = yield single_request(part)
    ledger.settle_by(answer, part.entries)
    ledger.has_repeats |= answer.is_accepted


def _recognise_repeats(parts: Sequence[Part], failures: Sequence[Failure], ledger: Ledger) -> bool:
    """Whether a request was refused for repeats, so that all its events had better go singly."""
    if len(parts) == 1 or not (ledger.has_repeats or any(map(_is_repeat, failures))):
        return False
    ledger.singly.update(entry.key for part in parts for entry in part.entries)
    return True


def _is_repeat(failure: Failure) -> bool:
    return "unique_id" in failure.pointer or "unique_id" in failure.detail


_NAMES_ITEM = re.compile(r"^/data/attributes/[^/]+/data/\d+/.")
_BULK = Bulk(bulk_request, accept, _judge_alone, _recognise_repeats)
