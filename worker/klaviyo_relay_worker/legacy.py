"""The retired SDK's reads, with its writes: `klaviyo_relay.legacy` and the `get_…` methods.

    from klaviyo_relay_worker.legacy import Klaviyo       # was: from klaviyo import Klaviyo

    client = Klaviyo(public_token="PUBLIC", private_token="pk_…")
    for one in client.Lists.get_lists():
        print(one["list_id"], one["list_name"])

Reads ask Klaviyo at once, through a `Reader`; answers have the old shapes, also under `.data`, as
3.x had them. Each call site gets a `DeprecationWarning` that names the new form. A read raises what
a `Reader` raises; docs/migrating.md has the old errors' names of today.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import klaviyo_relay.legacy as writes
from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay.legacy_mapping import deprecated
from klaviyo_relay.producer import Producer
from klaviyo_relay_worker import legacy_answers as answers
from klaviyo_relay_worker.errors import NotFoundError
from klaviyo_relay_worker.klaviyo import Profile, Reader
from klaviyo_relay_worker.klaviyo.aggregates import Interval
from klaviyo_relay_worker.klaviyo.events import Sort
from klaviyo_relay_worker.legacy_answers import Batch, OldDict, OldList
from klaviyo_relay_worker.legacy_arguments import (
    Since,
    condition_of,
    days_of,
    measurement_of,
    start_of,
)

__all__ = ["Klaviyo"]

# The most events that one page of today's API has; `next` goes on behind them.
_EVENTS_MOST = 1_000
_EVENTS = 100


class Asking:
    """The reader of a client, made from the settings when something is first read.

    Args:
        account: whose.
        given: the reader, where it is made already.
    """

    def __init__(self, account: str, given: Reader | None) -> None:
        self._account = account
        self._given = given

    @cached_property
    def reader(self) -> Reader:
        """The reader."""
        return self._given or Reader.from_env(self._account)


class _Reading(writes.Group):
    """A group that reads, too."""

    def __init__(self, asking: Asking, enqueue: writes.Enqueue | None, account: str) -> None:
        super().__init__(enqueue, account)
        self._asking = asking

    def _reader(self, method: str) -> Reader:
        """The reader, after saying what to write instead."""
        deprecated(f"{type(self).__name__}.{method}", writes.READS[method])
        return self._asking.reader

    def _timeline(
        self, method: str, *, since: Since, count: int, sort: Sort, **which: str
    ) -> OldDict:
        reader, start = self._reader(method), start_of(since)
        first, last = start.span(sort)
        pages = reader.events.all(
            **which,
            since=first,
            until=last,
            sort=sort,
            count=min(count, _EVENTS_MOST),
            cursor=start.cursor,
        )
        events = [answers.event(one) for one in pages]
        following = start.following(pages.cursor)
        return OldDict(object="$list", count=len(events), data=events, next=following)


class Profiles(_Reading, writes.Profiles):
    """update_profile, unset_profile_properties, and what reads."""

    def get_profile(self, profile_id: str) -> OldDict:
        """`reader.profiles.get`: a flat object, Klaviyo's own properties with a $."""
        return OldDict(answers.person(self._reader("get_profile").profiles.get(profile_id)))

    def get_profile_id_by_email(self, email: str) -> OldDict:
        """`reader.profiles.id_of`: {"id"}.

        Raises:
            NotFoundError: there is no such profile.
        """
        found = self._reader("get_profile_id_by_email").profiles.id_of(email=email)
        if found is None:
            raise NotFoundError("email: Klaviyo knows no profile with it", 404)
        return OldDict(id=found)

    def get_profile_metrics_timeline(
        self, profile_id: str, since: Since = None, count: int = _EVENTS, sort: Sort = "desc"
    ) -> OldDict:
        """`reader.events.all(profile_id=…)`: see `Metrics.get_metrics_timeline`."""
        return self._timeline(
            "get_profile_metrics_timeline",
            since=since,
            count=count,
            sort=sort,
            profile_id=profile_id,
        )

    def get_profile_metrics_timeline_by_id(
        self,
        profile_id: str,
        metric_id: str,
        since: Since = None,
        count: int = _EVENTS,
        sort: Sort = "desc",
    ) -> OldDict:
        """`reader.events.all(profile_id=…, metric_id=…)`: see `Metrics.get_metrics_timeline`."""
        return self._timeline(
            "get_profile_metrics_timeline_by_id",
            since=since,
            count=count,
            sort=sort,
            profile_id=profile_id,
            metric_id=metric_id,
        )


class Metrics(_Reading):
    """All of it reads."""

    def get_metrics(self, page: int = 0, count: int = 50) -> OldDict:
        """`reader.metrics.all()`, all of which are read, since there are no page numbers today.

        Args:
            page: which page, from 0 on.
            count: metrics a page.
        """
        found = [answers.metric(one) for one in self._reader("get_metrics").metrics.all()]
        start = page * count
        shown = found[start : start + count]
        return OldDict(
            object="$list",
            page=page,
            page_size=count,
            start=start,
            end=start + len(shown) - 1,
            total=len(found),
            data=shown,
        )

    def get_metrics_timeline(
        self, since: Since = None, count: int = _EVENTS, sort: Sort = "desc"
    ) -> OldDict:
        """`reader.events.all()`: {"object", "count", "data", "next"}.

        Args:
            since: Unix seconds: "desc" tells what was until then, "asc" what was from then on;
                or `next` of the answer before, under the same `sort`.
            count: at most so many events, up to 1,000.
            sort: "desc", newest first, or "asc".

        Raises:
            InvalidArgumentError: `since` is a uuid.
        """
        return self._timeline("get_metrics_timeline", since=since, count=count, sort=sort)

    def get_metric_timeline_by_id(
        self, metric_id: str, since: Since = None, count: int = _EVENTS, sort: Sort = "desc"
    ) -> OldDict:
        """`reader.events.all(metric_id=…)`: see `get_metrics_timeline`."""
        return self._timeline(
            "get_metric_timeline_by_id", since=since, count=count, sort=sort, metric_id=metric_id
        )

    def get_metric_export(  # noqa: PLR0917 - the old signature
        self,
        metric_id: str,
        start_date: Any = None,
        end_date: Any = None,
        unit: Interval | None = None,
        measurement: str | Iterable[str] | None = None,
        where: Any = None,
        by: str | None = None,
        count: int | None = None,
    ) -> OldDict:
        """`reader.metrics.aggregate`: {"metric", "results", …}, one result a group.

        Args:
            metric_id: which.
            start_date, end_date: Unix seconds, a date, or a time with a zone; the end is not in it.
            unit: day, week, month (and hour).
            measurement: count, unique, value; `["sum", "$value"]`.
            where: `[[dimension, "=", value]]`, also as JSON.
            by: a dimension.
            count: at most so many groups.

        Raises:
            InvalidArgumentError: a dimension that Klaviyo does not group by any more, and the like.
        """
        reader = self._reader("get_metric_export")
        start, end = days_of(start_date, end_date)
        measured = measurement_of(measurement)
        numbers = reader.metrics.aggregate(
            metric_id=metric_id,
            start=start,
            end=end,
            measurements=[measured],
            interval=unit or "day",
            by=[by] if by else (),
            where=condition_of(where),
            count=count,
        )
        return OldDict(
            metric=answers.metric(reader.metrics.get(metric_id)),
            results=answers.export(numbers, measured),
            unit=unit or "day",
            measurement=measurement or "count",
            by=by,
        )


class Lists(_Reading, writes.Lists):
    """What writes, and what reads."""

    def get_lists(self) -> OldList:
        """`reader.lists.all()`: [{"list_id", "list_name"}]."""
        found = self._reader("get_lists").lists.all()
        return OldList({"list_id": one.id, "list_name": one.name} for one in found)

    def get_list_by_id(self, list_id: str) -> OldDict:
        """`reader.lists.get`: {"list_name", "created", "updated", …}."""
        return OldDict(answers.mailing_list(self._reader("get_list_by_id").lists.get(list_id)))

    def get_subscribers_from_list(
        self,
        list_id: str,
        emails: Iterable[str] = (),
        phone_numbers: Iterable[str] = (),
        push_tokens: Iterable[str] = (),
    ) -> OldList:
        """`reader.lists.subscribers`: who of these is on the list and can be sent marketing.

        For numbers that is a consent to SMS, for the others that nothing suppresses their email.
        """
        lists = self._reader("get_subscribers_from_list").lists
        named = _named(emails=emails, push_tokens=push_tokens)
        by_number = _named(phone_numbers=phone_numbers)
        found = list(lists.subscribers(list_id, **named)) if named else []
        if by_number:
            found += lists.subscribers(list_id, **by_number, channel="sms")
        return _members(found)

    def get_members_from_list(
        self,
        list_id: str,
        emails: Iterable[str] = (),
        phone_numbers: Iterable[str] = (),
        push_tokens: Iterable[str] = (),
    ) -> OldList:
        """`reader.lists.members`: who of these is on the list."""
        lists = self._reader("get_members_from_list").lists
        named = _named(emails=emails, phone_numbers=phone_numbers, push_tokens=push_tokens)
        return _members(lists.members(list_id, **named) if named else ())

    def get_members_from_segment(self, segment_id: str, emails: Iterable[str] = ()) -> OldList:
        """`reader.segments.members`: who of these is in the segment."""
        segments = self._reader("get_members_from_segment").segments
        named = _named(emails=emails)
        return _members(segments.members(segment_id, **named) if named else ())

    def get_list_exclusions(self, list_id: str, marker: str | None = None) -> OldDict:
        """`reader.lists.exclusions`: {"records", "marker"}, a page a call.

        Args:
            list_id: which list.
            marker: that of the answer before.
        """
        lists = self._reader("get_list_exclusions").lists
        batch = Batch(lists.exclusions(list_id, cursor=marker))
        return batch.records(map(answers.exclusion, batch.items))

    def get_all_members(self, group_id: str, marker: str | None = None) -> OldDict:
        """`reader.lists.members`, or those of a segment: {"records", "marker"}, a page a call.

        Args:
            group_id: of a list; where there is none by this id, of a segment.
            marker: that of the answer before.
        """
        reader = self._reader("get_all_members")
        try:
            batch = Batch(reader.lists.members(group_id, cursor=marker))
        except NotFoundError:
            batch = Batch(reader.segments.members(group_id, cursor=marker))
        return batch.records(map(answers.member, batch.items))


class Klaviyo(writes.Klaviyo):
    """The old client. Its tokens are not used: the key is in KLAVIYO_API_KEY, as the workers'.

    Args:
        public_token, private_token: accepted, so that the call may stay as it is.
        producer: of what writes. Defaults to the module's own, as in `klaviyo_relay.track`.
        account: name of the Klaviyo account, instead of its tokens.
        reader: of what reads. Defaults to `Reader.from_env(account)`, made at the first read.
    """

    def __init__(
        self,
        public_token: str | None = None,
        private_token: str | None = None,
        *,
        producer: Producer | None = None,
        account: str = DEFAULT_ACCOUNT,
        reader: Reader | None = None,
    ) -> None:
        super().__init__(public_token, private_token, producer=producer, account=account)
        enqueue = None if producer is None else producer.enqueue
        asking = Asking(account, reader)
        self.Profiles: Profiles = Profiles(asking, enqueue, account)
        self.Lists: Lists = Lists(asking, enqueue, account)
        self.Metrics: Metrics = Metrics(asking, enqueue, account)


def _named(**given: Iterable[str]) -> dict[str, Any]:
    """The arguments that name somebody: the old API found nobody where nobody was named."""
    listed = {
        name: values if isinstance(values, str) else list(values or ())
        for name, values in given.items()
    }
    return {name: values for name, values in listed.items() if values}


def _members(profiles: Iterable[Profile]) -> OldList:
    """Each once: somebody may be found by their email and by their number."""
    return OldList({one.id: answers.member(one) for one in profiles}.values())
