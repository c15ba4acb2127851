"""The segments. Klaviyo finds out who belongs to one; here a test says so."""

from __future__ import annotations

from collections.abc import Iterable

from .groups import Group, Groups


class Segment(Group):
    """One segment."""

    is_active: bool = True


class Segments(Groups[Segment]):
    """All segments by id."""

    def create(
        self, name: str, profile_ids: Iterable[str], now: float, *, is_active: bool
    ) -> Segment:
        """A new segment with these members; names need not be unique."""
        made = Segment(self._ids.short(), name, now, now, is_active=is_active)
        for profile_id in profile_ids:
            made.add(profile_id, now)
        self._by_id[made.id] = made
        return made
