"""What a test arranges in the account although the modelled API has no request for it.

An arrangement is recorded like a request, so that a sandbox that comes back still has it.
Profiles are named by email or id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .consents import Reason

if TYPE_CHECKING:
    from .store import Store


class Arrangement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """The base of every arrangement."""


class NewSegment(Arrangement, frozen=True):
    """A segment with these members."""

    name: str
    profiles: tuple[str, ...] = ()
    is_active: bool = True

    def arrange(self, store: Store, now: float) -> dict[str, str]:
        """Make it; gives its id."""
        for one in self.profiles:
            if "@" not in one:  # ids first, so that an unknown one leaves no new profile behind
                store.named(one, now)
        members = [store.named(one, now).id for one in self.profiles]
        made = store.segments.create(self.name, members, now, is_active=self.is_active)
        return {"id": made.id}


class PushToken(Arrangement, frozen=True):
    """A push token of a profile."""

    profile: str
    token: str

    def arrange(self, store: Store, now: float) -> dict[str, str]:
        """Give it to the profile, whose id is given."""
        one = store.named(self.profile, now)
        store.people.give_token(one, self.token)
        return {"id": one.id}


class Suppression(Arrangement, frozen=True):
    """What stops mail to a profile, such as a bounce or a complaint: of one list, or all of it."""

    profile: str
    reason: Reason
    list_id: str | None = None

    def arrange(self, store: Store, now: float) -> dict[str, str]:
        """Let it begin; gives the profile's id."""
        if self.list_id is not None and store.lists.get(self.list_id) is None:
            raise ValueError(f"there is no list {self.list_id!r}")
        one = store.named(self.profile, now)
        one.permission().suppress(self.reason, self.list_id, now)
        return {"id": one.id}


Arranging = NewSegment | PushToken | Suppression
