"""Reads of segments and of their members."""

from __future__ import annotations

from collections.abc import Iterable

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.arguments import Moment
from klaviyo_relay_worker.klaviyo.group import each
from klaviyo_relay_worker.klaviyo.membership import Membership
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Profile, Segment, read


class Segments(Membership):
    """Segments; one is named by its id, or by its name if no other has the same."""

    _kind = "segment"
    _many = limits.GET_SEGMENTS
    _single = limits.GET_SEGMENT
    _members = limits.GET_SEGMENT_PROFILES
    _with_count = limits.GET_SEGMENT_AND_COUNT

    def all(self) -> Pages[Segment]:
        """All segments."""
        return self._pages(limits.GET_SEGMENTS, ["/api/segments"], each(Segment))

    def get(
        self,
        segment_id: str | None = None,
        *,
        segment_name: str | None = None,
        with_count: bool = False,
    ) -> Segment:
        """A segment.

        Args:
            segment_id, segment_name: which segment.
            with_count: with `profile_count`; Klaviyo takes 15 such requests a minute.

        Raises:
            NotFoundError: there is none by this id or name.
        """
        return read(Segment, self._get(segment_id, segment_name, with_count=with_count))

    def members(
        self,
        segment_id: str | None = None,
        *,
        segment_name: str | None = None,
        emails: Iterable[str] | None = None,
        phone_numbers: Iterable[str] | None = None,
        push_tokens: Iterable[str] | None = None,
        since: Moment | None = None,
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Profile]:
        """Who is in a segment: of those who are named, or all; with subscriptions.

        Args:
            segment_id, segment_name: which segment.
            emails, phone_numbers, push_tokens: only these, any number of them.
            since: only who came in at this time or later.
            count: at most so many.
            cursor: of an earlier read (`Pages.cursor`), to go on there.
        """
        return self._of(
            self._id_given(segment_id, segment_name),
            emails=emails,
            phone_numbers=phone_numbers,
            push_tokens=push_tokens,
            since=since,
            count=count,
            cursor=cursor,
        )
