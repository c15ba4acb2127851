"""The retired API's answers, made of what Klaviyo's present API tells.

Sources: the response examples of Klaviyo's v1/v2 reference, as far as they are still published
(timelines, exclusions, metric export), and klaviyo 3.1.7 on PyPI, where each answer had `data` and
`status_code`. What today's API does not tell is left out or empty; docs/migrating.md says what.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from klaviyo_relay_worker.klaviyo import (
    Aggregate,
    Event,
    Exclusion,
    MailingList,
    Metric,
    Pages,
    Profile,
)

Json = dict[str, Any]
Item = TypeVar("Item")

_NAMED = ("email", "phone_number", "first_name", "last_name", "organization", "title", "image")
_PLACES = (
    "address1", "address2", "city", "region", "country", "zip", "latitude", "longitude", "timezone",
)  # fmt: skip
# Reasons of v1/v2 by their names of today (OpenAPI 2026-07-15).
_REASONS = {
    "UNSUBSCRIBE": "unsubscribed",
    "SPAM_COMPLAINT": "reported_spam",
    "HARD_BOUNCE": "bounced",
    "INVALID_EMAIL": "invalid_email",
    "USER_SUPPRESSED": "manually_excluded",
}
_ALL_TOGETHER = "$overall"


class _Answered:
    """What 3.x put around an answer; 1.x and node gave the answer itself. Both work."""

    status_code = 200

    @property
    def data(self) -> Any:
        """Itself."""
        return self


class OldDict(_Answered, dict[str, Any]):
    """An answer that is an object."""


class OldList(_Answered, list[Any]):
    """An answer that is a list."""


class Batch(Generic[Item]):
    """One page of a long read, and where the next one begins.

    Attributes:
        items: on this page.
        marker: Klaviyo's cursor; None on the last page.
    """

    def __init__(self, pages: Pages[Item]) -> None:
        reading = pages.pages()
        self.items: list[Item] = next(reading, [])
        self.marker = pages.cursor
        if not self.items and self.marker is None:
            next(reading, None)  # raises where there is no such list

    def records(self, records: Iterable[Json]) -> OldDict:
        """The answer with these records; without a marker on the last page, as it was."""
        answer = OldDict(records=list(records))
        if self.marker is not None:
            answer["marker"] = self.marker
        return answer


def person(one: Profile) -> Json:
    """v1/person: Klaviyo's own properties with a $, yours beside them."""
    place = one.location or {}
    return {
        **one.properties,
        "object": "person",
        "id": one.id,
        "$id": one.external_id or "",
        **{f"${name}": getattr(one, name) or "" for name in _NAMED},
        **{f"${name}": "" if place.get(name) is None else place[name] for name in _PLACES},
        "created": plain_time(one.created),
        "updated": plain_time(one.updated),
    }


def event(one: Event) -> Json:
    """One of a timeline's; of the person the id alone."""
    return {
        "object": "event",
        "id": one.id,
        "statistic_id": one.metric_id,
        "event_name": one.metric,
        "timestamp": one.timestamp,
        "datetime": None if one.datetime is None else one.datetime.isoformat(" "),
        "event_properties": dict(one.event_properties),
        "uuid": one.uuid,
        "person": {"object": "person", "id": one.profile_id},
    }


def metric(one: Metric) -> Json:
    """One of v1/metrics."""
    return {
        "object": "metric",
        "id": one.id,
        "name": one.name,
        "integration": one.integration,
        "created": plain_time(one.created),
        "updated": plain_time(one.updated),
    }


def mailing_list(one: MailingList) -> Json:
    """v2/list; there are no folders any more."""
    return {
        "list_name": one.name,
        "folder_name": None,
        "created": plain_time(one.created),
        "updated": plain_time(one.updated),
    }


def member(one: Profile) -> Json:
    """One of a list's; `created` is when they joined."""
    return {
        "id": one.id,
        "email": one.email,
        "phone_number": one.phone_number,
        "created": iso_time(one.joined_group_at),
    }


def exclusion(one: Exclusion) -> Json:
    """One of v2/list/…/exclusions, whose time stood under two names."""
    since = iso_time(one.timestamp)
    return {
        "id": one.profile_id,
        "email": one.email,
        "reason": _REASONS.get(one.reason or "", one.reason),
        "timestamp": since,
        "created": since,
    }


def export(numbers: Aggregate, measurement: str) -> list[Json]:
    """The results of v1/metric/…/export: for each group one number a date."""
    return [
        {
            "segment": row.dimensions[0] if row.dimensions else _ALL_TOGETHER,
            "data": [
                {"date": plain_time(date), "values": [value]}
                for date, value in zip(numbers.dates, row.measurements[measurement], strict=True)
            ],
        }
        for row in numbers.rows
    ]


def plain_time(moment: datetime | None) -> str | None:
    """As v1 wrote times: in UTC, without saying so."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso_time(moment: datetime | None) -> str | None:
    """As v2 wrote times."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
