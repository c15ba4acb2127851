"""The shapes of request bodies, as types that msgspec decodes into.

Source: the request schemas of Klaviyo OpenAPI 2026-07-15. Unknown members are refused, as
Klaviyo does ("'first_name' is not a valid field"). Lists that Klaviyo judges item by item are
kept raw, so that one bad item does not hide the faults of the others.

Where null clears a field and absence leaves it, the default is UNSET; elsewhere null and
absence mean the same and the default is None.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType, field

Text = str | None | UnsetType
Degrees = str | float | None | UnsetType
_Part = TypeVar("_Part")


class Shape(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The base of every shape: no member beyond the declared ones."""


class Data(Shape, Generic[_Part]):
    """JSON:API's `{"data": …}`."""

    data: _Part


Items = Data[list[Raw]]


class Reference(Shape):
    """A resource identifier of one of the types that bodies refer to."""

    type: Literal["list", "segment", "profile"]
    id: str


class Location(Shape):
    """Where a profile lives."""

    address1: Text = UNSET
    address2: Text = UNSET
    city: Text = UNSET
    country: Text = UNSET
    latitude: Degrees = UNSET
    longitude: Degrees = UNSET
    region: Text = UNSET
    zip: Text = UNSET
    timezone: Text = UNSET
    ip: Text = UNSET


class PatchProperties(Shape):
    """Changes to single custom properties."""

    append: dict[str, Any] | None = None
    unappend: dict[str, Any] | None = None
    unset: str | list[str] | None = None


class PatchIdentifiers(Shape):
    """Changes to secondary emails: accepted and ignored by the sandbox."""

    append: dict[str, Any] | None = None
    unappend: dict[str, Any] | None = None


class Meta(Shape):
    """What is changed beside the attributes."""

    patch_properties: PatchProperties | None = None
    patch_identifiers: PatchIdentifiers | None = None


class CreateAttributes(Shape):
    """The attributes of POST and PATCH /api/profiles."""

    email: Text = UNSET
    phone_number: Text = UNSET
    external_id: Text = UNSET
    first_name: Text = UNSET
    last_name: Text = UNSET
    organization: Text = UNSET
    locale: Text = UNSET
    title: Text = UNSET
    image: Text = UNSET
    location: Location | UnsetType | None = UNSET
    properties: dict[str, Any] | UnsetType | None = UNSET


class ProfileAttributes(CreateAttributes):
    """The attributes of profile-import and of bulk import rows."""

    kx: Text = field(default=UNSET, name="_kx")


class EventProfileAttributes(ProfileAttributes):
    """The attributes of a profile inside an event; only there may it be anonymous."""

    anonymous_id: Text = UNSET


class OldEventProfileAttributes(EventProfileAttributes):
    """As POST /api/events takes them up to revision 2026-07-15: with `meta` among them."""

    meta: Meta | None = None


class ProfileCreate(Shape):
    """POST /api/profiles."""

    type: Literal["profile"]
    attributes: CreateAttributes


class ProfilePatch(Shape):
    """PATCH /api/profiles/{id}."""

    type: Literal["profile"]
    id: str
    attributes: CreateAttributes
    meta: Meta | None = None


class ProfileImport(Shape):
    """POST /api/profile-import, and one row of a bulk import."""

    type: Literal["profile"]
    attributes: ProfileAttributes
    id: str | None = None
    meta: Meta | None = None


class EventProfile(Shape):
    """The profile of a bulk event, and of a single one from revision 2026-10-15 on."""

    type: Literal["profile"]
    attributes: EventProfileAttributes
    id: str | None = None
    meta: Meta | None = None


class OldEventProfile(Shape):
    """The profile of a single event up to revision 2026-07-15."""

    type: Literal["profile"]
    attributes: OldEventProfileAttributes
    id: str | None = None


class MetricAttributes(Shape):
    """A metric by name; an unknown name makes a new metric."""

    name: str
    service: str | None = None


class Metric(Shape):
    """The metric of an event."""

    type: Literal["metric"]
    attributes: MetricAttributes


class BulkEventAttributes(Shape):
    """What an event carries beside its profile."""

    properties: Raw
    """An object; raw, because most are small and harmless and need not be taken apart."""
    metric: Data[Metric]
    time: str | None = None
    value: float | None = None
    value_currency: str | None = None
    unique_id: str | None = None
    backfill: bool | None = None


class NewEventAttributes(BulkEventAttributes, kw_only=True):
    """POST /api/events from revision 2026-10-15 on."""

    profile: Data[EventProfile]


class OldEventAttributes(BulkEventAttributes, kw_only=True):
    """POST /api/events up to revision 2026-07-15."""

    profile: Data[OldEventProfile]


class NewEvent(Shape):
    """The event of revision 2026-10-15."""

    type: Literal["event"]
    attributes: NewEventAttributes


class OldEvent(Shape):
    """The event of revision 2026-07-15."""

    type: Literal["event"]
    attributes: OldEventAttributes


class BulkEvent(Shape):
    """An event inside an entry of a bulk request."""

    type: Literal["event"]
    attributes: BulkEventAttributes


class EntryAttributes(Shape):
    """One profile and its events."""

    profile: Data[EventProfile]
    events: Data[list[BulkEvent]]
    backfill: bool | None = None


class Entry(Shape):
    """One entry of a bulk request."""

    type: Literal["event-bulk-create"]
    attributes: EntryAttributes


class EventJobAttributes(Shape):
    """The entries, raw."""

    entries: Items = field(name="events-bulk-create")


class EventJob(Shape):
    """POST /api/event-bulk-create-jobs."""

    type: Literal["event-bulk-create-job"]
    attributes: EventJobAttributes


class Profiles(Shape):
    """A list of profiles, raw."""

    profiles: Items


class ImportLists(Shape):
    """The lists that imported profiles join."""

    lists: Data[list[Reference]] | None = None


class ImportJob(Shape):
    """POST /api/profile-bulk-import-jobs."""

    type: Literal["profile-bulk-import-job"]
    attributes: Profiles
    relationships: ImportLists | None = None


class ListAttributes(Shape):
    """A new list."""

    name: str
    opt_in_process: Literal["single_opt_in", "double_opt_in"] | None = None


class ListCreate(Shape):
    """POST /api/lists."""

    type: Literal["list"]
    attributes: ListAttributes


class ListChanges(Shape):
    """What may change about a list."""

    name: str | None = None
    opt_in_process: Literal["single_opt_in", "double_opt_in"] | None = None


class ListPatch(Shape):
    """PATCH /api/lists/{id}."""

    type: Literal["list"]
    id: str
    attributes: ListChanges


class OnList(Shape):
    """The one list that a job names."""

    list: Data[Reference] | None = None


class OnGroup(OnList):
    """The list or segment that a suppression job names."""

    segment: Data[Reference] | None = None


class SuppressionProfiles(Shape):
    """The profiles of a suppression job, raw; none when a list or segment is named."""

    profiles: Items | None = None


class SuppressJob(Shape):
    """POST /api/profile-suppression-bulk-create-jobs."""

    type: Literal["profile-suppression-bulk-create-job"]
    attributes: SuppressionProfiles
    relationships: OnGroup | None = None


class UnsuppressJob(Shape):
    """POST /api/profile-suppression-bulk-delete-jobs."""

    type: Literal["profile-suppression-bulk-delete-job"]
    attributes: SuppressionProfiles
    relationships: OnGroup | None = None


class EmailAttribute(Shape):
    """The one attribute by which profiles are suppressed."""

    email: str


class SuppressedProfile(Shape):
    """One profile of a suppression job."""

    type: Literal["profile"]
    attributes: EmailAttribute


class DeletionAttributes(Shape):
    """The identifiers by which a deletion may be asked for."""

    email: str | None = None
    phone_number: str | None = None


class DeletedProfile(Shape):
    """Whom to delete."""

    type: Literal["profile"]
    attributes: DeletionAttributes
    id: str | None = None


class DeletionProfile(Shape):
    """The profile of a deletion job."""

    profile: Data[DeletedProfile]


class DeletionJob(Shape):
    """POST /api/data-privacy-deletion-jobs."""

    type: Literal["data-privacy-deletion-job"]
    attributes: DeletionProfile
