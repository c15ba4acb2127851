"""How profiles are found: by filters, with the help of the indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from klaviyo_relay_worker.sandbox import filters
from klaviyo_relay_worker.sandbox.people import Profile
from klaviyo_relay_worker.sandbox.store import Store

_MARKETING = "subscriptions.email.marketing"
_ACCOUNT, _LISTS = f"{_MARKETING}.suppression.", f"{_MARKETING}.list_suppressions."
FILTERS: filters.Allowed = {
    "id": filters.ANY,
    "email": filters.ANY,
    "phone_number": filters.ANY,
    "external_id": filters.ANY,
    "created": filters.STRICT_RANGE,
    "updated": filters.STRICT_RANGE,
    f"{_ACCOUNT}reason": filters.ONE,
    f"{_ACCOUNT}timestamp": filters.RANGE,
    f"{_LISTS}reason": filters.ONE,
    f"{_LISTS}timestamp": filters.RANGE,
    f"{_LISTS}list_id": filters.ONE,
}


def found(store: Store, conditions: Sequence[filters.Condition]) -> list[Profile]:
    """The profiles for which all conditions hold.

    Those about suppressions must hold for one and the same of them (assumed): the reason of one
    and the list of another do not make a match.
    """
    plain = [one for one in conditions if not one.field.startswith(_MARKETING)]
    kept = filters.keep(_candidates(store, conditions), plain, getattr)
    for beginning, suppressions_of in ((_ACCOUNT, _suppressions), (_LISTS, _list_suppressions)):
        asked = [one for one in conditions if one.field.startswith(beginning)]
        if asked:
            kept = [one for one in kept if filters.keep(suppressions_of(one), asked, _member)]
    return kept


def holders(store: Store, conditions: Sequence[filters.Condition]) -> list[Profile] | None:
    """The profiles that an index finds for an identifier filter; None without such a filter."""
    for condition in conditions:
        if condition.field in ("id", "profile_id"):
            named: Iterable[Profile | None] = map(store.people.get, condition.values)
        elif condition.field in ("email", "phone_number", "push_token"):
            kind = condition.field
            named = [store.people.holder(kind, value) for value in condition.values]
        else:
            continue
        return list({one.id: one for one in named if one}.values())
    return None


def _candidates(store: Store, conditions: Sequence[filters.Condition]) -> Iterable[Profile]:
    named = holders(store, conditions)
    return list(store.people) if named is None else named


class _Suppression(NamedTuple):
    reason: str
    timestamp: float
    list_id: str | None = None


def _suppressions(one: Profile) -> list[_Suppression]:
    record = one.consent
    return [_Suppression(*each) for each in record.suppressions.items()] if record else []


def _list_suppressions(one: Profile) -> list[_Suppression]:
    found = one.consent.list_suppressions if one.consent else {}
    return [_Suppression(each.reason, each.since, list_id) for list_id, each in found.items()]


def _member(one: _Suppression, field: str) -> object:
    return getattr(one, field.rpartition(".")[2])
