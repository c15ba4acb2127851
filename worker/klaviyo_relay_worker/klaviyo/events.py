"""Reads of events: the timelines of profiles and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import InvalidArgumentError
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.klaviyo.arguments import Moment, moment, text
from klaviyo_relay_worker.klaviyo.group import Group, page_size
from klaviyo_relay_worker.klaviyo.metrics import Metrics
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.profiles import Profiles
from klaviyo_relay_worker.klaviyo.resources import Event, Json, read, related_id

Sort = Literal["desc", "asc"]


class Events(Group):
    """Events.

    Args:
        profiles, metrics: to find a metric by its name, and to tell an unknown id from silence.
    """

    def __init__(self, access: Access, profiles: Profiles, metrics: Metrics) -> None:
        super().__init__(access)
        self._profiles = profiles
        self._metrics = metrics

    def all(
        self,
        *,
        profile_id: str | None = None,
        metric_id: str | None = None,
        metric: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        sort: Sort = "desc",
        count: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Event]:
        """Events: of a profile, of a metric, of both, or all.

        Args:
            profile_id: only of this profile.
            metric_id, metric: only of this metric, by its id or its name.
            since: only at this time or later.
            until: only before this time.
            sort: "desc", newest first, or "asc".
            count: at most so many.
            cursor: of an earlier read (`Pages.cursor`), to go on there.

        Raises:
            NotFoundError: there are none because there is no such profile or metric.
        """
        if sort not in ("desc", "asc"):
            raise InvalidArgumentError("sort", "must be desc or asc")
        identity = self._metrics.id_given(metric_id, metric)
        path = query.path(
            "/api/events",
            [*_whose(profile_id, identity), *_when(since, until)],
            sort="datetime" if sort == "asc" else "-datetime",
            include="metric",
            page_size=page_size(limits.EVENTS_A_PAGE, count),
            page_cursor=cursor,
        )
        return self._pages(
            limits.GET_EVENTS,
            [path],
            _read,
            count=count,
            if_empty=lambda: self._check_known(profile_id, identity),
        )

    def _check_known(self, profile_id: str | None, metric_id: str | None) -> None:
        """Nothing was found: say so if that is because there is no such profile or metric."""
        if profile_id is not None:
            self._profiles.get(profile_id)
        if metric_id is not None:
            self._metrics.get(metric_id)


def _whose(profile_id: str | None, metric_id: str | None) -> Iterator[str]:
    if profile_id is not None:
        yield query.equals("profile_id", text("profile_id", profile_id))
    if metric_id is not None:
        yield query.equals("metric_id", metric_id)


def _when(since: Moment | None, until: Moment | None) -> Iterator[str]:
    if since is not None:
        yield query.since("datetime", moment("since", since))
    if until is not None:
        yield query.until("datetime", moment("until", until))


def _read(document: Json) -> Iterator[Event]:
    included = document.get("included")
    names = {
        one.get("id"): (one.get("attributes") or {}).get("name")
        for one in (included if isinstance(included, list) else ())
        if isinstance(one, dict) and one.get("type") == "metric"
    }
    for one in document["data"]:
        metric_id = related_id(one, "metric")
        yield read(
            Event,
            one,
            metric_id=metric_id,
            metric=names.get(metric_id),
            profile_id=related_id(one, "profile"),
        )
