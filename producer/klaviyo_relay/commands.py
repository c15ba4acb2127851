"""The commands: what an application can ask of Klaviyo, each checked when it is made.

A command is a frozen value. Its fields are already in wire form (times are ISO 8601 strings in
UTC, a Decimal is a float), so an object that exists can be sent. `InvalidCommandError` names the
field and the rule otherwise.

Identifiers: `email`, `phone_number` (E.164), `external_id` (yours; Klaviyo does not merge
profiles by it, so it can create duplicates) and, where it makes sense, `profile_id` (Klaviyo's own)
or `anonymous_id` (events only). At least one is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import astuple, fields, force_setattr

from klaviyo_relay import validation
from klaviyo_relay.errors import InvalidCommandError

__all__ = [
    "AddToList",
    "Command",
    "CreateList",
    "DeleteList",
    "DeleteProfile",
    "Identify",
    "RemoveFromList",
    "RenameList",
    "Subscribe",
    "Suppress",
    "Track",
    "Unsubscribe",
    "Unsuppress",
]

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    # What a caller may give; on the wire it is only the first of the two.
    Moment = str | datetime
    Amount = float | Decimal
else:
    Moment, Amount = str, float
Channel = Literal["email", "sms"]
CHANNELS: tuple[Channel, ...] = ("email", "sms")
OPT_IN_PROCESSES = ("single_opt_in", "double_opt_in")
# The attributes of a profile that Klaviyo names itself (OpenAPI 2026-07-15); all else is custom.
PROFILE_ATTRIBUTES = (
    "first_name",
    "last_name",
    "organization",
    "locale",
    "title",
    "image",
)
_MEMBERS_OF_PROFILE = (*PROFILE_ATTRIBUTES, "location", "properties", "unset", "append", "unappend")
TRACK_ONCE_ID = "once"


class Command(
    Struct,
    frozen=True,
    kw_only=True,
    tag_field="verb",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What all commands share.

    Attributes:
        lane: name of the lane that delivers this kind of command.
        is_always_synced: a power cut may not lose it either, whatever the setting durability says.
    """

    lane: ClassVar[str]
    is_always_synced: ClassVar[bool] = False
    identifiers: ClassVar[tuple[str, ...]] = ("email", "phone_number", "external_id")

    def __post_init__(self) -> None:
        """Check every field that was given, then what only several fields together can tell."""
        given = zip(_CHECKS[type(self)], astuple(self), strict=True)
        for (field, check, required), value in given:
            if value is not None or required:
                checked = check(field, value)
                if checked is not value:
                    force_setattr(self, field, checked)
        self._check_together()

    def _check_together(self) -> None:
        for field in self.identifiers:
            if getattr(self, field) is not None:
                return
        raise InvalidCommandError(
            " | ".join(self.identifiers), "at least one is needed to know the profile"
        )

    def _check_list(self) -> None:
        given = (self.list_id is not None) + (self.list_name is not None)  # type: ignore[attr-defined]  # its subclasses have them
        if given != 1:
            raise InvalidCommandError(
                "list_id | list_name", "exactly one is needed: Klaviyo's id or the list's name"
            )

    def __repr__(self) -> str:
        """The kind and the names of its fields; values are private."""
        given = ", ".join(
            name for name in self.__struct_fields__ if getattr(self, name) is not None
        )
        return f"<{type(self).__name__} with {given}>"


class Track(Command, frozen=True, kw_only=True, tag="track"):
    """Something that a profile did, at a time.

    Attributes:
        metric: name of the metric, fewer than 128 characters; a new name creates the metric.
        properties: what is to be known of it: up to 400 properties, 100 KB a string.
        value: amount, in `value_currency` where that is given.
        value_currency: ISO 4217 code, such as USD.
        time: when it happened: after 1990, at most a year ahead. Default: when it was enqueued.
        unique_id: at most 255 characters. Klaviyo keeps one event per (profile, metric, unique_id).
            Default: the command's own id.
        backfill: store it without setting off flows (new in revision 2026-07-15).
    """

    lane = "events"
    identifiers: ClassVar[tuple[str, ...]] = (
        "email",
        "phone_number",
        "external_id",
        "profile_id",
        "anonymous_id",
    )

    metric: str
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    profile_id: str | None = None
    anonymous_id: str | None = None
    properties: dict[str, Any] | None = None
    value: Amount | None = None
    value_currency: str | None = None
    time: Moment | None = None
    unique_id: str | None = None
    backfill: bool | None = None

    def _check_together(self) -> None:
        if self.email is None:
            super()._check_together()
        if self.value_currency is not None and self.value is None:
            raise InvalidCommandError("value_currency", "needs a value beside it")


class Identify(Command, frozen=True, kw_only=True, tag="identify"):
    """What is to be known of a profile; creates it where it is new.

    A field that is left out, or None, stays as it is at Klaviyo. `unset` clears.

    Attributes:
        properties: custom properties to set.
        location: address1, address2, city, country, latitude, longitude, region, zip, timezone, ip.
        unset: names of attributes or custom properties to clear.
        append: custom property -> value or values to add to its list.
        unappend: custom property -> value or values to take out of its list.
    """

    lane = "profiles"
    identifiers: ClassVar[tuple[str, ...]] = ("email", "phone_number", "external_id", "profile_id")

    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    profile_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    organization: str | None = None
    locale: str | None = None
    title: str | None = None
    image: str | None = None
    location: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    unset: list[str] | None = None
    append: dict[str, Any] | None = None
    unappend: dict[str, Any] | None = None

    def _check_together(self) -> None:
        super()._check_together()
        touched: set[str] = set()
        for member in ("properties", "unset", "append", "unappend"):
            names = set(getattr(self, member) or ())
            if names & touched:
                at_fault = validation.printable(min(names & touched))
                raise InvalidCommandError(
                    f"{member}.{at_fault}", "stands in two of properties, unset, append, unappend"
                )
            touched |= names
        for name in (*PROFILE_ATTRIBUTES, "location"):
            if name in touched and getattr(self, name) is not None:
                raise InvalidCommandError(name, "is both set and named in unset")


class _OnList(Command, frozen=True, kw_only=True):
    list_id: str | None = None
    list_name: str | None = None
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None

    def _check_together(self) -> None:
        super()._check_together()
        self._check_list()


class AddToList(_OnList, frozen=True, kw_only=True, tag="add_to_list"):
    """Make a profile a member of a list; consent stays as it is. Creates the profile if new."""

    lane = "lists"


class RemoveFromList(_OnList, frozen=True, kw_only=True, tag="remove_from_list"):
    """End a profile's membership of a list; consent stays as it is."""

    lane = "lists"


class _ListItself(Command, frozen=True, kw_only=True):
    lane = "lists"
    identifiers: ClassVar[tuple[str, ...]] = ()

    def _check_together(self) -> None:
        self._check_list()


class CreateList(_ListItself, frozen=True, kw_only=True, tag="create_list"):
    """Create a list, unless one of this name exists (Klaviyo allows 150 creations a day).

    Attributes:
        list_name: the list's name, by which later commands may address it.
        opt_in_process: single_opt_in or double_opt_in. Default: the account's.
    """

    list_name: str
    opt_in_process: str | None = None

    def _check_together(self) -> None:
        """Nothing: the name alone is required."""


class RenameList(_ListItself, frozen=True, kw_only=True, tag="rename_list"):
    """Give a list another name."""

    new_name: str
    list_id: str | None = None
    list_name: str | None = None


class DeleteList(_ListItself, frozen=True, kw_only=True, tag="delete_list"):
    """Delete a list. Its members stay as profiles."""

    list_id: str | None = None
    list_name: str | None = None


class _Consent(Command, frozen=True, kw_only=True):
    lane = "consent"
    identifiers: ClassVar[tuple[str, ...]] = ("email", "phone_number")

    list_id: str | None = None
    list_name: str | None = None
    email: str | None = None
    phone_number: str | None = None
    channels: tuple[Channel, ...] | None = None

    def _check_together(self) -> None:
        super()._check_together()
        if self.list_id is not None and self.list_name is not None:
            self._check_list()
        for channel, needed in (("email", "email"), ("sms", "phone_number")):
            if self.channels and channel in self.channels and getattr(self, needed) is None:
                raise InvalidCommandError(needed, f"is needed for the channel {channel}")

    def consented_channels(self) -> tuple[Channel, ...]:
        """The channels named, or else one for each identifier given."""
        given: list[Channel] = []
        if self.email is not None:
            given.append("email")
        if self.phone_number is not None:
            given.append("sms")
        return self.channels or tuple(given)


class Subscribe(_Consent, frozen=True, kw_only=True, tag="subscribe"):
    """Record a person's consent to marketing.

    Attributes:
        list_id, list_name: the list to subscribe to. Without one the account's default opt-in
            applies.
        channels: "email", "sms". Default: one for each identifier given.
        consented_at: when the consent was given, if it was not now: a past time. Klaviyo then takes
            it as a historical import, without double opt-in and without setting off flows.
        source: where the consent was given, as Klaviyo's custom source.
    """

    consented_at: Moment | None = None
    source: str | None = None


class Unsubscribe(_Consent, frozen=True, kw_only=True, tag="unsubscribe"):
    """Record a person's withdrawal of consent: of one list, or of all marketing without one."""

    is_always_synced = True


class _ByEmail(Command, frozen=True, kw_only=True):
    lane = "consent"
    identifiers: ClassVar[tuple[str, ...]] = ("email",)

    email: str


class Suppress(_ByEmail, frozen=True, kw_only=True, tag="suppress"):
    """Stop all email marketing to an address, whatever its consent."""


class Unsuppress(_ByEmail, frozen=True, kw_only=True, tag="unsuppress"):
    """Lift a suppression that `suppress` or a user set; unsubscribes and bounces stay."""


class DeleteProfile(Command, frozen=True, kw_only=True, tag="delete_profile"):
    """Ask Klaviyo to delete all profiles that match one identifier, for a person's privacy.

    Exactly one identifier, as Klaviyo takes them.
    """

    lane = "privacy"
    is_always_synced = True
    identifiers: ClassVar[tuple[str, ...]] = ("email", "phone_number", "profile_id")

    email: str | None = None
    phone_number: str | None = None
    profile_id: str | None = None

    def _check_together(self) -> None:
        given = [name for name in self.identifiers if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidCommandError(
                " | ".join(self.identifiers), f"exactly one is needed, not {len(given)}"
            )


def _metric(field: str, value: object) -> str:
    return validation.text(field, value, validation.METRIC_MAX_CHARACTERS)


def _identifier(field: str, value: object) -> str:
    return validation.text(field, value, validation.UNIQUE_ID_MAX_CHARACTERS)


def _channels(field: str, value: object) -> tuple[Channel, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidCommandError(field, 'must be a list such as ["email", "sms"]')
    found = tuple(value)
    unknown = [name for name in found if name not in CHANNELS]
    if unknown or not found or len(set(found)) != len(found):
        raise InvalidCommandError(field, "must name email, sms or both, each once")
    return tuple(CHANNELS[CHANNELS.index(name)] for name in found)  # plain str, not an enum's


def _opt_in(field: str, value: object) -> str:
    if value not in OPT_IN_PROCESSES:
        raise InvalidCommandError(field, f"must be one of {', '.join(OPT_IN_PROCESSES)}")
    return OPT_IN_PROCESSES[OPT_IN_PROCESSES.index(value)]  # the plain str, not a caller's enum


def _additions(field: str, value: object) -> dict[str, Any]:
    found = validation.properties(field, value)
    for name, member in found.items():
        if name in _MEMBERS_OF_PROFILE:
            raise InvalidCommandError(f"{field}.{name}", "is not a custom property")
        if isinstance(member, Mapping) or member is None:
            raise InvalidCommandError(
                f"{field}.{validation.printable(name)}", "must be a value or a list of values"
            )
    return found


# Name of a field, of whichever command -> what checks it and gives it its wire form.
CHECK_OF_FIELD: dict[str, Any] = {
    "metric": _metric,
    "email": validation.email,
    "phone_number": validation.phone_number,
    "external_id": _identifier,
    "profile_id": _identifier,
    "anonymous_id": _identifier,
    "properties": validation.properties,
    "value": validation.number,
    "value_currency": validation.currency,
    "time": validation.time,
    "unique_id": _identifier,
    "backfill": validation.boolean,
    "first_name": validation.text,
    "last_name": validation.text,
    "organization": validation.text,
    "locale": validation.text,
    "title": validation.text,
    "image": validation.text,
    "location": validation.location,
    "unset": validation.names,
    "append": _additions,
    "unappend": _additions,
    "list_id": validation.list_id,
    "list_name": _identifier,
    "new_name": _identifier,
    "opt_in_process": _opt_in,
    "channels": _channels,
    "consented_at": validation.past_time,
    "source": _identifier,
}

KINDS: tuple[type[Command], ...] = (
    Track, Identify, AddToList, RemoveFromList, CreateList, RenameList, DeleteList,
    Subscribe, Unsubscribe, Suppress, Unsuppress, DeleteProfile,
)  # fmt: skip
_CHECKS: dict[type, tuple[tuple[str, Any, bool], ...]] = {
    kind: tuple((field.name, CHECK_OF_FIELD[field.name], field.required) for field in fields(kind))
    for kind in KINDS
}
AnyCommand = TypeVar("AnyCommand", bound=Command)
VERBS: dict[str, type[Command]] = {str(kind.__struct_config__.tag): kind for kind in KINDS}


def build(verb: str, arguments: Mapping[str, Any]) -> Command:
    """The command of a verb from keyword arguments, as the Celery door and files give them.

    Raises:
        InvalidCommandError: unknown verb or argument, a missing one, or a value out of its rule.
    """
    kind = VERBS.get(verb)
    if kind is None:
        raise InvalidCommandError("verb", f"must be one of {', '.join(VERBS)}")
    return construct(kind, arguments)


def construct(kind: type[AnyCommand], arguments: Mapping[str, Any]) -> AnyCommand:
    """A command of `kind`, with unknown and missing arguments named as any other fault."""
    for name in arguments:
        if name not in kind.__struct_fields__:
            known = ", ".join(kind.__struct_fields__)
            raise InvalidCommandError(validation.printable(name), f"is unknown; known are {known}")
    for name, _, required in _CHECKS[kind]:
        if required and name not in arguments:
            raise InvalidCommandError(name, "is required")
    return kind(**arguments)
