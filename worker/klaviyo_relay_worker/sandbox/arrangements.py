"""What a test arranges in the account although the modelled API has no request for it.

An arrangement is recorded like a request, so that a sandbox that comes back still has it.
Profiles are named by email or id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .store import Store


class NewSegment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
