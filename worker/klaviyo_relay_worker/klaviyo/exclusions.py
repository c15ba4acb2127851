"""Who is excluded from email: of one list, or of all; the filters for it, and how it is read.

A filter on several members of the suppressions may be met by different ones of them, so what comes
is looked at again. Such a filter takes no sort (noted in the field, revision 2026-07-15), so who is
changed during the read may come twice: each exclusion is given once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.arguments import Moment, among, moment
from klaviyo_relay_worker.klaviyo.group import each, once
from klaviyo_relay_worker.klaviyo.pages import Reading
from klaviyo_relay_worker.klaviyo.resources import (
    REASONS,
    Exclusion,
    Json,
    Profile,
    Reason,
    time_of,
)

_MARKETING = "subscriptions.email.marketing"
# Before anybody was ever excluded: without any condition, everybody would come.
_EVER = datetime(2000, 1, 1, tzinfo=UTC)


class Wanted(Struct, frozen=True):
    """Which exclusions to read.

    Attributes:
        list_id: from this list; None for those from all email.
        reason: only this one, such as HARD_BOUNCE.
        since: only from this time on.
    """

    list_id: str | None
    reason: Reason | None
    since: datetime | None

    @classmethod
    def checked(cls, list_id: str | None, reason: Reason | None, since: Moment | None) -> Wanted:
        """What a caller wants.

        Raises:
            InvalidArgumentError: no such reason, or no time.
        """
        if reason is not None:
            among("reason", reason, REASONS)
        return cls(list_id, reason, None if since is None else moment("since", since))

    def path(self, cursor: str | None) -> str:
        """GET /api/profiles with what is wanted as a filter."""
        return query.path(
            "/api/profiles",
            self._conditions(),
            additional_fields_profile="subscriptions",
            page_size=limits.PROFILES_A_PAGE,
            page_cursor=cursor,
        )

    def reading(self) -> Reading[Exclusion]:
        """Reads the exclusions that are wanted out of a page of profiles."""
        profiles = each(Profile)

        def read(document: Json) -> Iterator[Exclusion]:
            return (one for profile in profiles(document) for one in self._of(profile))

        return once(read, lambda one: (one.profile_id, one.reason, one.timestamp))

    def _conditions(self) -> list[str]:
        member = "suppression" if self.list_id is None else "list_suppressions"
        found = []
        if self.list_id is not None:
            found.append(query.equals(f"{_MARKETING}.{member}.list_id", self.list_id))
        if self.reason is not None:
            found.append(query.equals(f"{_MARKETING}.{member}.reason", self.reason))
        if self.since is not None or not found:
            found.append(query.since(f"{_MARKETING}.{member}.timestamp", self.since or _EVER))
        return found

    def _of(self, profile: Profile) -> Iterator[Exclusion]:
        member = "suppression" if self.list_id is None else "list_suppressions"
        found = profile.marketing().get(member)
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict):
                exclusion = _exclusion(profile, one)
                if self._has(exclusion):
                    yield exclusion

    def _has(self, one: Exclusion) -> bool:
        return (
            one.list_id == self.list_id
            and self.reason in (None, one.reason)
            and (self.since is None or one.timestamp is None or one.timestamp >= self.since)
        )


def _exclusion(profile: Profile, found: dict[str, Any]) -> Exclusion:
    return Exclusion(
        profile_id=profile.id,
        email=profile.email,
        reason=found.get("reason"),
        timestamp=time_of(found.get("timestamp")),
        list_id=found.get("list_id"),
    )
