"""What is remembered, as JSON:API resources (response schemas of Klaviyo OpenAPI 2026-07-15).

Called with the store open, since it reads what others change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from . import consents
from .exchange import Call
from .ids import event_id
from .jobs import EXPIRY_SECONDS, Job, RowFault
from .ledger import Event, Metric
from .lists import MailingList
from .people import Profile
from .segments import Segment
from .times import iso, iso_or_none

Resource = dict[str, Any]

_TEXTS = ("first_name", "last_name", "organization", "locale", "title", "image")
_PLACES = ("address1", "address2", "city", "country", "latitude", "longitude", "region", "zip")
_LOCATION = (*_PLACES, "timezone", "ip")
_PREDICTIONS = (
    "historic_clv",
    "predicted_clv",
    "total_clv",
    "historic_number_of_orders",
    "predicted_number_of_orders",
    "average_days_between_orders",
    "average_order_value",
    "churn_probability",
    "expected_date_of_next_order",
    "ranked_channel_affinity",
)
_INTEGRATION = {
    "object": "integration",
    "id": "0eMvjm",
    "key": "api",
    "name": "API",
    "category": "API",
}


def reference(kind: str, identifier: str) -> Resource:
    """A resource identifier."""
    return {"type": kind, "id": identifier}


def profile(call: Call, one: Profile, joined: float | None = None) -> Resource:
    """A profile; `joined` is set where it is shown as a member of a list."""
    attributes: Resource = {
        "email": one.email,
        "phone_number": one.phone_number,
        "external_id": one.external_id,
        **{name: one.attributes.get(name) for name in _TEXTS},
        "created": iso(one.created),
        "updated": iso(one.updated),
        "last_event_date": iso_or_none(one.last_event),
        "location": {name: one.location.get(name) for name in _LOCATION},
        "properties": one.properties,
    }
    if joined is not None:
        attributes["joined_group_at"] = iso(joined)
    more = call.names("additional-fields[profile]")
    if "subscriptions" in more:
        attributes["subscriptions"] = consents.document(one.consent)
    if "predictive_analytics" in more:
        attributes["predictive_analytics"] = dict.fromkeys(_PREDICTIONS)
    path = f"/api/profiles/{one.id}"
    related = _related(call, path, "lists", "segments", "push-tokens")
    return _resource(call, "profile", path, attributes=attributes, related=related)


def event(call: Call, one: Event) -> Resource:
    """An event; its unique_id and value come back as properties with a dollar sign."""
    properties = msgspec.json.decode(one.properties)
    properties["$event_id"] = one.unique_id
    if one.value is not None:
        properties["$value"] = one.value
    if one.currency is not None:
        properties["$value_currency"] = one.currency
    identifier = event_id(one.number)
    attributes = {
        "timestamp": one.time,
        "event_properties": properties,
        "datetime": iso(one.time),
        "uuid": f"00000000-0000-1000-8001-{one.number:012x}",
    }
    path = f"/api/events/{identifier}"
    related = _related(call, path, "profile", "metric")
    related["profile"]["data"] = reference("profile", one.profile_id)
    related["metric"]["data"] = reference("metric", one.metric_id)
    return _resource(call, "event", path, attributes=attributes, related=related)


def metric(call: Call, one: Metric) -> Resource:
    """A metric; those of the API have no `updated` of their own."""
    created = iso(one.created)
    attributes = {
        "name": one.name,
        "created": created,
        "updated": created,
        "integration": _INTEGRATION,
    }
    path = f"/api/metrics/{one.id}"
    related = _related(call, path, "flow-triggers")
    return _resource(call, "metric", path, attributes=attributes, related=related)


def metric_aggregate(
    call: Call,
    identifier: str,
    starts: Iterable[int],
    rows: Iterable[tuple[Sequence[str], Resource]],
) -> Resource:
    """Counts by interval: where each one begins, and rows of dimensions and measurements."""
    attributes = {
        "dates": [iso(start) for start in starts],
        "data": [{"dimensions": of, "measurements": counts} for of, counts in rows],
    }
    return {
        "type": "metric-aggregate",
        "id": identifier,
        "attributes": _sparse(call, "metric-aggregate", attributes),
        "links": {"self": f"{call.request.origin}/api/metric-aggregates/"},
    }


def mailing_list(call: Call, one: MailingList) -> Resource:
    """A list, with its size if that is asked for."""
    attributes: Resource = {
        "name": one.name,
        "created": iso(one.created),
        "updated": iso(one.updated),
        "opt_in_process": one.opt_in_process,
    }
    if "profile_count" in call.names("additional-fields[list]"):
        attributes["profile_count"] = len(one.members)
    path = f"/api/lists/{one.id}"
    related = _related(call, path, "profiles", "tags", "flow-triggers")
    return _resource(call, "list", path, attributes=attributes, related=related)


def segment(call: Call, one: Segment) -> Resource:
    """A segment. It has no definition, since a test has said who belongs to it."""
    attributes: Resource = {
        "name": one.name,
        "definition": None,
        "created": iso(one.created),
        "updated": iso(one.updated),
        "is_active": one.is_active,
        "is_processing": False,
        "is_starred": False,
    }
    path = f"/api/segments/{one.id}"
    related = _related(call, path, "profiles", "tags", "flow-triggers")
    return _resource(call, "segment", path, attributes=attributes, related=related)


def import_job(call: Call, one: Job, now: float) -> Resource:
    """An import job; a row counts as completed or failed once the job is done."""
    status = one.status(now)
    attributes = {
        "status": status,
        "created_at": iso(one.created),
        "total_count": one.total,
        "completed_count": one.total - len(one.faults) if one.done else 0,
        "failed_count": len(one.faults),
        "started_at": None if status == "queued" else iso((one.created + one.due) / 2),
        "completed_at": iso(one.due) if one.done else None,
        "expires_at": iso(one.created + EXPIRY_SECONDS),
    }
    path = f"/api/profile-bulk-import-jobs/{one.id}"
    related = _related(call, path, "lists", "profiles")
    related["lists"]["data"] = [reference("list", list_id) for list_id in one.list_ids]
    related["import-errors"] = {"links": {"related": f"{call.request.origin}{path}/import-errors/"}}
    return _resource(call, one.kind, path, attributes=attributes, related=related)


def suppression_job(call: Call, one: Job, now: float) -> Resource:
    """A suppression job, or the opposite."""
    attributes = {
        "status": one.status(now),
        "created_at": iso(one.created),
        "total_count": one.total,
        "completed_count": one.total - one.skipped if one.done else 0,
        "skipped_count": one.skipped,
        "completed_at": iso(one.due) if one.done else None,
    }
    path = f"/api/{one.kind}s/{one.id}"
    related = {
        "lists": {"data": [reference("list", list_id) for list_id in one.list_ids]},
        "segments": {"data": [reference("segment", each) for each in one.segment_ids]},
    }
    return _resource(call, one.kind, path, attributes=attributes, related=related)


def import_error(call: Call, one: RowFault) -> Resource:
    """Why a row of an import failed."""
    attributes = {
        "code": one.code,
        "title": one.title,
        "detail": one.detail,
        "source": {"pointer": f"/data/attributes/profiles/data/{one.index}"},
        "original_payload": msgspec.json.decode(one.payload),
    }
    return {
        "type": "import-error",
        "id": one.id,
        "attributes": _sparse(call, "import-error", attributes),
    }


def _resource(
    call: Call, kind: str, path: str, *, attributes: Resource, related: Resource
) -> Resource:
    return {
        "type": kind,
        "id": path.rpartition("/")[2],
        "attributes": _sparse(call, kind, attributes),
        "relationships": related,
        "links": {"self": f"{call.request.origin}{path}/"},
    }


def _related(call: Call, path: str, *names: str) -> Resource:
    origin = call.request.origin
    return {
        name: {
            "links": {
                "self": f"{origin}{path}/relationships/{name}/",
                "related": f"{origin}{path}/{name}/",
            }
        }
        for name in names
    }


def _sparse(call: Call, kind: str, attributes: Resource) -> Resource:
    """Only what `fields[kind]` names, if it is given."""
    wanted = call.names(f"fields[{kind}]")
    if not wanted:
        return attributes
    return {name: value for name, value in attributes.items() if name in wanted}
