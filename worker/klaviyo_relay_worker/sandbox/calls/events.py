"""Operations on events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from klaviyo_relay_worker.sandbox import bodies, checks, filters, pages, resources
from klaviyo_relay_worker.sandbox.decoding import decode_body, each, whole, within
from klaviyo_relay_worker.sandbox.errors import Beneath, Fault, Refusal, invalid, not_found
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.ids import event_id, event_number
from klaviyo_relay_worker.sandbox.ledger import Event, NewEvent
from klaviyo_relay_worker.sandbox.people import Patch, Who
from klaviyo_relay_worker.sandbox.store import Store

META_MOVED = "2026-10-15"
"""From this revision on a single event's `meta` stands beside the profile's attributes."""

ENTRIES = ("data", "attributes", "events-bulk-create", "data")
_ENTRIES_POINTER = "/" + "/".join(ENTRIES)

_old_event = whole(bodies.OldEvent)
_new_event = whole(bodies.NewEvent)
_job = whole(bodies.EventJob)
_entry = msgspec.json.Decoder(bodies.Entry)

_EVENT_FILTERS: filters.Allowed = {
    "metric_id": frozenset({"single:equals", "list:equals"}),
    "profile_id": filters.ONE,
    "datetime": filters.RANGE,
    "timestamp": filters.RANGE,
}


class Batch(NamedTuple):
    """One profile and its events, checked."""

    who: Who
    patch: Patch
    events: list[NewEvent]


def create_event(call: Call) -> Answer:
    """POST /api/events: 202 without a body, also for a repeat, which is discarded."""
    data: bodies.NewEvent | bodies.OldEvent
    if call.revision >= META_MOVED:
        data = decode_body(_new_event, call.body)
    else:
        data = decode_body(_old_event, call.body)
    with Beneath("/data/attributes/profile/data"):
        who, patch = checks.event_profile(data.attributes.profile.data, len(call.body))
    with Beneath("/data/attributes"):
        new = checks.event(data.attributes, call.store.clock())
    with call.store.open() as now:
        _record(call.store, Batch(who, patch, [new]), now)
    return Answer(202)


def bulk_create_events(call: Call) -> Answer:
    """POST /api/event-bulk-create-jobs: 202 without a body for all, or 400 for all."""
    items = decode_body(_job, call.body).attributes.entries.data
    within(len(items), checks.MAX_EVENTS, "entries", _ENTRIES_POINTER)
    present = call.store.clock()

    def check(entry: bodies.Entry, raw: msgspec.Raw) -> Batch:
        return _batch(entry, len(memoryview(raw)), present)

    batches = each(items, _entry, check, _ENTRIES_POINTER)
    count = sum(len(batch.events) for batch in batches)
    within(count, checks.MAX_EVENTS, "events", _ENTRIES_POINTER)
    with call.store.open() as now:
        _refuse_repeats(call, batches)
        for batch in batches:
            _record(call.store, batch, now)
    return Answer(202, items=count)


def get_events(call: Call) -> Answer:
    """GET /api/events, newest first unless `sort` says otherwise."""
    conditions = filters.parse(call.parameter("filter"), _EVENT_FILTERS)
    with call.store.open():
        found = list(_candidates(call.store, conditions))
    # Events do not change once recorded, so the search needs no lock.
    found = filters.keep(found, conditions, _read_event)
    shown = pages.page(call, found, pages.EVENTS, _EVENT_ORDERS, "-datetime")
    with call.store.open():
        data = [resources.event(call, one) for one in shown.items]
        included = _included(call, shown.items)
    return answer(200, {"data": data, "links": shown.links, **included})


def get_event(call: Call) -> Answer:
    """GET /api/events/{id}."""
    with call.store.open():
        one = _known(call)
        document = {"data": resources.event(call, one), **_included(call, [one])}
    return answer(200, document)


def get_event_metric(call: Call) -> Answer:
    """GET /api/events/{id}/metric."""
    with call.store.open():
        metric = call.store.ledger.metric(_known(call).metric_id)
        return answer(200, {"data": resources.metric(call, metric) if metric else None})


def get_event_profile(call: Call) -> Answer:
    """GET /api/events/{id}/profile."""
    with call.store.open():
        profile = call.store.people.get(_known(call).profile_id)
        return answer(200, {"data": resources.profile(call, profile) if profile else None})


def _known(call: Call) -> Event:
    """The event that the path names. An id of another form is 400, as recorded, not 404."""
    if event_number(call.ids[0]) is None:
        raise invalid(f"'{call.ids[0]}' is not a valid event id.", "/data/id")
    one = call.store.ledger.event(call.ids[0])
    if one is None:
        raise not_found("event", call.ids[0])
    return one


def _batch(entry: bodies.Entry, raw_bytes: int, now: float) -> Batch:
    """One checked entry; pointers relative to it."""
    with Beneath("/attributes/profile/data"):
        who, patch = checks.event_profile(entry.attributes.profile.data, raw_bytes)
    events = []
    for index, event in enumerate(entry.attributes.events.data):
        with Beneath(f"/attributes/events/data/{index}/attributes"):
            events.append(checks.event(event.attributes, now))
    if not events:
        raise invalid("An entry needs at least one event.", "/attributes/events/data")
    return Batch(who, patch, events)


def _refuse_repeats(call: Call, batches: Sequence[Batch]) -> None:
    """Refuse a unique_id given twice for a profile and metric: no event is processed.

    Inside one request always (Klaviyo OpenAPI 2026-07-15, bulk_create_events `unique_id`).
    Whether one of an earlier request does the same is unknown: the setting `repeats` decides.
    """
    seen: set[tuple[str, str, str]] = set()
    strict = call.settings.repeats == "refuse"
    faults = []
    for index, batch in enumerate(batches):
        known = call.store.people.find(batch.who)
        person = known.id if known else _name(batch.who)
        for number, event in enumerate(batch.events):
            if event.unique_id is None:
                continue
            key = (person, event.metric, event.unique_id)
            earlier = strict and known is not None and call.store.ledger.has(known.id, event)
            if key in seen or earlier:
                at = f"{_ENTRIES_POINTER}/{index}/attributes/events/data/{number}"
                faults.append(Fault("Duplicate unique_id.", pointer=f"{at}/attributes/unique_id"))
            seen.add(key)
    if faults:
        raise Refusal(400, *faults)


def _name(who: Who) -> str:
    """What tells a person who has no profile yet from others in the same request."""
    return who.email or who.phone_number or who.external_id or who.anonymous_id or ""


def _record(store: Store, batch: Batch, now: float) -> None:
    if checks.silently_dropped(batch.who):
        store.tally.silently_dropped += len(batch.events)
        return
    profile = store.identify(batch.who, batch.patch, now)
    if profile is None:
        store.tally.silently_dropped += len(batch.events)
        return
    for event in batch.events:
        store.record(profile, event, now)


def _candidates(store: Store, conditions: Sequence[filters.Condition]) -> Sequence[Event]:
    for condition in conditions:
        if condition.field == "profile_id":
            return store.ledger.of(condition.values[0])
    return list(store.ledger)


def _included(call: Call, events: Sequence[Event]) -> dict[str, Any]:
    wanted = call.names("include")
    if not wanted:
        return {}
    found: list[resources.Resource] = []
    if "metric" in wanted:
        metrics = {one.metric_id: call.store.ledger.metric(one.metric_id) for one in events}
        found += [resources.metric(call, one) for one in metrics.values() if one]
    if "profile" in wanted:
        people = {one.profile_id: call.store.people.get(one.profile_id) for one in events}
        found += [resources.profile(call, one) for one in people.values() if one]
    return {"included": found}


def _read_event(one: Event, field: str) -> str | int:
    if field == "metric_id":
        return one.metric_id
    return one.profile_id if field == "profile_id" else one.time


def _by_time(one: Event) -> pages.Position:
    return one.time, event_id(one.number)


_EVENT_ORDERS: dict[str, pages.Reader] = {"datetime": _by_time, "timestamp": _by_time}
