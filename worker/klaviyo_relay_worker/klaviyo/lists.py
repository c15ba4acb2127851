"""Reads of lists and of their members."""

from __future__ import annotations

from collections.abc import Iterable

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.arguments import Moment, among
from klaviyo_relay_worker.klaviyo.exclusions import Wanted
from klaviyo_relay_worker.klaviyo.group import each
from klaviyo_relay_worker.klaviyo.membership import Membership
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import (
    CHANNELS,
    Channel,
    Exclusion,
    MailingList,
    Profile,
    Reason,
    read,
)


class Lists(Membership):
    """Lists; one is named by its id, or by its name if no other has the same."""

    _kind = "list"
    _many = limits.GET_LISTS
    _single = limits.GET_LIST
    _members = limits.GET_LIST_PROFILES
    _with_count = limits.GET_LIST_AND_COUNT

    def all(self) -> Pages[MailingList]:
        """All lists."""
        return self._pages(limits.GET_LISTS, ["/api/lists"], each(MailingList))

    def get(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        with_count: bool = False,
    ) -> MailingList:
        """A list.

        Args:
            list_id, list_name: which list.
            with_count: with `profile_count`; Klaviyo takes 15 such requests a minute.

        Raises:
            NotFoundError: there is none by this id or name.
        """
        return read(MailingList, self._get(list_id, list_name, with_count=with_count))

    def members(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        emails: Iterable[str] | None = None,
        phone_numbers: Iterable[str] | None = None,
        push_tokens: Iterable[str] | None = None,
        since: Moment | None = None,
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Profile]:
        """Who is on a list: of those who are named, or all; with subscriptions.

        Args:
            list_id, list_name: which list.
            emails, phone_numbers, push_tokens: only these, any number of them.
            since: only who joined at this time or later.
            count: at most so many.
            cursor: of an earlier read (`Pages.cursor`), to go on there.
        """
        return self._of(
            self._id_given(list_id, list_name),
            emails=emails,
            phone_numbers=phone_numbers,
            push_tokens=push_tokens,
            since=since,
            count=count,
            cursor=cursor,
        )

    def subscribers(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        emails: Iterable[str] | None = None,
        phone_numbers: Iterable[str] | None = None,
        push_tokens: Iterable[str] | None = None,
        channel: Channel = "email",
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Profile]:
        """Who is on a list and can be sent marketing there: as the retired API's subscribers.

        Args:
            list_id, list_name: which list.
            emails, phone_numbers, push_tokens: only these, any number of them.
            channel: email: nothing suppresses it, here or everywhere; sms: it was consented to.
            count, cursor: as in `members`.
        """
        among("channel", channel, CHANNELS)
        identity = self._id_given(list_id, list_name)
        return self._of(
            identity,
            emails=emails,
            phone_numbers=phone_numbers,
            push_tokens=push_tokens,
            count=count,
            cursor=cursor,
            keep=lambda one: one.can_receive(channel, list_id=identity),
        )

    def exclusions(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        reason: Reason | None = None,
        since: Moment | None = None,
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Exclusion]:
        """Who gets no email of a list though they may be on it, why, and since when.

        Who gets no email at all is in `Profiles.suppressed`.

        Args:
            list_id, list_name: which list.
            reason: only this one, such as UNSUBSCRIBE; see `Profiles.suppressed`.
            since: only from this time on.
            count, cursor: as in `members`.
        """
        identity = self._id_given(list_id, list_name)
        wanted = Wanted.checked(identity, reason, since)
        return self._pages(
            limits.GET_PROFILES,
            [wanted.path(cursor)],
            wanted.reading(),
            count=count,
            if_empty=lambda: self.get(identity),
        )
