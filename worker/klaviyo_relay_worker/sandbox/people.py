"""The profiles of the account: found by identifier, created, changed, merged, deleted.

Not thread-safe: the store's lock guards it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from .consents import Consent
from .ids import IdMaker

LOCATION, PROPERTIES = "location", "properties"
PUSH_TOKEN = "push_token"  # noqa: S105 - a kind of identifier, no secret
IDENTIFIERS = ("email", "phone_number", "external_id", "anonymous_id")


class Who(NamedTuple):
    """The identifiers a request gives for one person, checked and normalised."""

    id: str | None = None
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    anonymous_id: str | None = None

    def anyone(self) -> bool:
        """Whether there is any identifier at all."""
        return any(self)


class Patch(NamedTuple):
    """What a request changes about one person."""

    attributes: Mapping[str, Any] = {}
    """Attributes that are no identifiers; a null in them clears, if the endpoint clears."""
    cleared: tuple[str, ...] = ()
    """Identifiers given as null."""
    append: Mapping[str, Any] = {}
    unappend: Mapping[str, Any] = {}
    unset: tuple[str, ...] = ()

    def empty(self) -> bool:
        """Whether nothing would change."""
        return not any(self)


NO_PATCH = Patch()


class Profile(msgspec.Struct, gc=False):
    """One person."""

    id: str
    created: float
    updated: float
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    anonymous_id: str | None = None
    attributes: dict[str, Any] = {}
    location: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    last_event: float | None = None
    consent: Consent | None = None
    push_tokens: tuple[str, ...] = ()

    def permission(self) -> Consent:
        """The consent record, made on first use: most people never need one."""
        if self.consent is None:
            self.consent = Consent()
        return self.consent


class People:
    """All profiles, with an index for each kind of identifier."""

    def __init__(self, ids: IdMaker) -> None:
        """Start without anyone; `ids` names the profiles to come."""
        self._ids = ids
        self._by_id: dict[str, Profile] = {}
        kinds = (*IDENTIFIERS, PUSH_TOKEN)
        self._index: dict[str, dict[str, Profile]] = {kind: {} for kind in kinds}

    def __len__(self) -> int:
        """How many profiles there are."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Profile]:
        """Every profile, oldest first."""
        return iter(self._by_id.values())

    def get(self, profile_id: str) -> Profile | None:
        """The profile with this id."""
        return self._by_id.get(profile_id)

    def holder(self, kind: str, value: str | None) -> Profile | None:
        """The profile that holds this identifier or push token; nobody holds None."""
        return self._index[kind].get(value) if value else None

    def find(self, who: Who) -> Profile | None:
        """The profile a request means: by id, else email, else phone, else the rest.

        An external_id beside an email or phone takes no part: Klaviyo's documentation says
        it is not merged and can lead to duplicates.
        """
        known = self._by_id.get(who.id) if who.id else None
        known = known or self.holder("email", who.email)
        known = known or self.holder("phone_number", who.phone_number)
        if not (known or who.email or who.phone_number):
            known = self.holder("external_id", who.external_id)
        return known or self.holder("anonymous_id", who.anonymous_id)

    def rival(self, who: Who, profile: Profile | None) -> tuple[Profile, str] | None:
        """Another profile that holds the email or phone of `who`, and which of the two."""
        for kind in ("email", "phone_number"):
            holder = self.holder(kind, getattr(who, kind))
            if holder is not None and holder is not profile:
                return holder, kind
        return None

    def create(self, who: Who, now: float) -> Profile:
        """A new profile with these identifiers."""
        profile = Profile(self._ids.ulid(now), now, now)
        self._by_id[profile.id] = profile
        self.assign(profile, who)
        return profile

    def assign(self, profile: Profile, who: Who) -> bool:
        """Give `profile` the identifiers of `who` that no one else holds; say if any is new.

        An external_id may be held by several; the first keeps the index.
        """
        changed = False
        for kind in IDENTIFIERS:
            value = getattr(who, kind)
            if value is None or value == getattr(profile, kind):
                continue
            holder = self._index[kind].setdefault(value, profile)
            if holder is profile or kind == "external_id":
                self._drop_identifier(profile, kind)
                setattr(profile, kind, value)
                changed = True
        return changed

    def give_token(self, profile: Profile, token: str) -> None:
        """Give `profile` a push token; who had it before, has it no more (assumed)."""
        former = self._index[PUSH_TOKEN].get(token)
        if former is profile:
            return
        if former is not None:
            former.push_tokens = tuple(one for one in former.push_tokens if one != token)
        self._index[PUSH_TOKEN][token] = profile
        profile.push_tokens += (token,)

    def clear(self, profile: Profile, kinds: Iterable[str]) -> None:
        """Take identifiers away from `profile`."""
        for kind in kinds:
            self._drop_identifier(profile, kind)
            setattr(profile, kind, None)

    def delete(self, profile: Profile) -> None:
        """Forget `profile`."""
        self.clear(profile, IDENTIFIERS)
        for token in profile.push_tokens:
            del self._index[PUSH_TOKEN][token]
        del self._by_id[profile.id]

    def _drop_identifier(self, profile: Profile, kind: str) -> None:
        value = getattr(profile, kind)
        if value is not None and self._index[kind].get(value) is profile:
            del self._index[kind][value]


def apply(profile: Profile, patch: Patch, *, clear_nulls: bool) -> None:
    """Write the attributes and the property changes of `patch` into `profile`.

    A null clears on profile-import and PATCH, and does nothing in a bulk import
    (Klaviyo's bulk import guide); events are taken to behave like the bulk import.
    """
    for name, value in patch.attributes.items():
        if name in (LOCATION, PROPERTIES):
            _merge(getattr(profile, name), value or {}, clear_nulls=clear_nulls)
        else:
            _merge(profile.attributes, {name: value}, clear_nulls=clear_nulls)
    for name, value in patch.append.items():
        profile.properties[name] = _appended(profile.properties.get(name), value)
    for name, value in patch.unappend.items():
        if name in profile.properties:
            gone = _as_list(value)
            kept = [item for item in _as_list(profile.properties[name]) if item not in gone]
            profile.properties[name] = kept
    for name in patch.unset:
        profile.properties.pop(name, None)


def _merge(target: dict[str, Any], changes: Mapping[str, Any], *, clear_nulls: bool) -> None:
    for name, value in changes.items():
        if value is not None:
            target[name] = value
        elif clear_nulls:
            target.pop(name, None)


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _appended(present: object, more: object) -> list[Any]:
    """`present` as a list with what is not in it yet."""
    items = _as_list(present)
    return items + [item for item in _as_list(more) if item not in items]
