"""What Klaviyo knows, as typed values: profiles, events, metrics, lists, segments, exclusions.

Reading is lenient on purpose: Klaviyo adds attributes within a revision, and answers have come with
other types than the document says (klaviyo-api-python#61, #64, #88). An attribute that is unknown
here, or of a type that was not foreseen, is kept as it came in `more`; it is never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Struct, field
from msgspec.structs import fields

from klaviyo_relay_worker.klaviyo.arguments import among

Json = dict[str, Any]
Channel = Literal["email", "sms"]
Reason = Literal["UNSUBSCRIBE", "SPAM_COMPLAINT", "HARD_BOUNCE", "INVALID_EMAIL", "USER_SUPPRESSED"]
CHANNELS: tuple[str, ...] = get_args(Channel)
REASONS: tuple[str, ...] = get_args(Reason)


class Resource(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A JSON:API resource.

    Attributes:
        id: Klaviyo's.
        more: attributes that are unknown to this release, as they came.
    """

    id: str
    more: Json = field(default_factory=dict)

    def __repr__(self) -> str:
        """Kind and id; what Klaviyo knows of a person is private."""
        return f"<{type(self).__name__} {self.id}>"


class Profile(Resource, frozen=True, kw_only=True):
    """A person.

    Attributes:
        created, updated, last_event_date, joined_group_at: times with a zone; the last one where
            the profile was read as a member of a list or segment.
        location, properties: as at Klaviyo.
        subscriptions: Klaviyo's object of consents, channel by channel.
    """

    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    organization: str | None = None
    locale: str | None = None
    title: str | None = None
    image: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    last_event_date: datetime | None = None
    joined_group_at: datetime | None = None
    location: Json | None = None
    properties: Json = field(default_factory=dict)
    subscriptions: Json | None = None

    def consent(self, channel: Channel = "email") -> str | None:
        """SUBSCRIBED, UNSUBSCRIBED, NEVER_SUBSCRIBED, …; None where Klaviyo did not say."""
        return self.marketing(channel).get("consent")

    def can_receive(self, channel: Channel = "email", *, list_id: str | None = None) -> bool:
        """Whether Klaviyo would send marketing: for email, whether nothing suppresses it.

        Args:
            channel: email or sms.
            list_id: then nothing must suppress it for this list, either.
        """
        marketing = self.marketing(channel)
        excluded = marketing.get("list_suppressions")
        return marketing.get(f"can_receive_{channel}_marketing") is True and not any(
            isinstance(one, dict) and one.get("list_id") == list_id
            for one in (excluded if isinstance(excluded, list) and list_id is not None else ())
        )

    def marketing(self, channel: Channel = "email") -> Json:
        """The marketing part of a channel's subscriptions; empty where Klaviyo did not say.

        Raises:
            InvalidArgumentError: there is no such channel.
        """
        among("channel", channel, CHANNELS)
        found = (self.subscriptions or {}).get(channel)
        part = found.get("marketing") if isinstance(found, dict) else None
        return part if isinstance(part, dict) else {}


class Event(Resource, frozen=True, kw_only=True):
    """Something that a profile did.

    Attributes:
        datetime: when, to the second.
        timestamp: the same as Unix seconds.
        event_properties: its properties; unique_id, value and currency are among them as
            `$event_id`, `$value`, `$value_currency` (recorded answers, revision 2026-07-15).
        uuid: Klaviyo's older id.
        metric: name of its metric, or None where Klaviyo did not send it along.
        metric_id, profile_id: whose.
    """

    datetime: datetime | None = None
    timestamp: int | None = None
    event_properties: Json = field(default_factory=dict)
    uuid: str | None = None
    metric: str | None = None
    metric_id: str | None = None
    profile_id: str | None = None

    @property
    def unique_id(self) -> str | None:
        """What Klaviyo tells repeats by."""
        return self.event_properties.get("$event_id")

    @property
    def value(self) -> float | None:
        """Its amount."""
        return self.event_properties.get("$value")

    @property
    def value_currency(self) -> str | None:
        """The amount's currency."""
        return self.event_properties.get("$value_currency")


class Metric(Resource, frozen=True, kw_only=True):
    """A kind of event.

    Attributes:
        integration: where its events come from; its members vary.
    """

    name: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    integration: Json | None = None


class MailingList(Resource, frozen=True, kw_only=True):
    """A list.

    Attributes:
        opt_in_process: single_opt_in or double_opt_in.
        profile_count: members, where that was asked for.
    """

    name: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    opt_in_process: str | None = None
    profile_count: int | None = None


class Segment(Resource, frozen=True, kw_only=True):
    """A segment: its members follow from a definition.

    Attributes:
        profile_count: members, where that was asked for.
    """

    name: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    is_active: bool | None = None
    is_processing: bool | None = None
    is_starred: bool | None = None
    definition: Json | None = None
    profile_count: int | None = None


class Exclusion(Struct, frozen=True, kw_only=True):
    """Why somebody gets no email: of one list, or at all.

    Attributes:
        profile_id, email: whose.
        reason: UNSUBSCRIBE, SPAM_COMPLAINT, HARD_BOUNCE, INVALID_EMAIL, USER_SUPPRESSED, or newer.
        timestamp: since when.
        list_id: of the list; None where it holds for all email.
    """

    profile_id: str
    email: str | None
    reason: str | None
    timestamp: datetime | None
    list_id: str | None

    def __repr__(self) -> str:
        """Whose and why, without the address."""
        return f"<Exclusion of {self.profile_id}: {self.reason}>"


AnyResource = TypeVar("AnyResource", bound=Resource)


def read(kind: type[AnyResource], resource: Mapping[str, Any], **known: Any) -> AnyResource:
    """A typed value from a JSON:API resource.

    Args:
        kind: of it.
        resource: as Klaviyo sends it.
        known: further members, which do not stand among its attributes.
    """
    more = _object(resource.get("attributes"))
    values: Json = {}
    for name, type_ in _types(kind):
        if name not in more:
            continue
        try:
            values[name] = msgspec.convert(more[name], type_)
        except msgspec.ValidationError:
            continue  # kept in `more`
        del more[name]
        if values[name] is None:
            del values[name]
    return kind(id=str(resource.get("id", "")), more=more, **{**values, **known})


def related_id(resource: Mapping[str, Any], name: str) -> str | None:
    """The id of a to-one relationship."""
    data = _object(_object(resource.get("relationships")).get(name)).get("data")
    return data.get("id") if isinstance(data, dict) else None


def time_of(value: object) -> datetime | None:
    """A time as Klaviyo writes it; UTC where it names no zone, None where it is none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _object(value: object) -> Json:
    return dict(value) if isinstance(value, Mapping) else {}


@cache
def _types(kind: type[Resource]) -> tuple[tuple[str, Any], ...]:
    """The attributes of a kind with their types; null is allowed for each."""
    return tuple(
        (one.name, one.type | None) for one in fields(kind) if one.name not in ("id", "more")
    )
