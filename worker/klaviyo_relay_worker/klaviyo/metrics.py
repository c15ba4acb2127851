"""Reads of metrics, and of their numbers over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.klaviyo.aggregates import (
    Aggregate,
    AggregateQuery,
    Interval,
    Measurement,
    cursor_after,
    read_page,
)
from klaviyo_relay_worker.klaviyo.arguments import Moment, moment, number, path_part, text
from klaviyo_relay_worker.klaviyo.group import Group, each
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Metric, read


class Metrics(Group):
    """Metrics."""

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._ids: dict[str, list[str]] = {}

    def all(self) -> Pages[Metric]:
        """All metrics."""
        return self._pages(limits.GET_METRICS, ["/api/metrics"], each(Metric))

    def get(self, metric_id: str) -> Metric:
        """A metric.

        Raises:
            NotFoundError: there is none by this id.
        """
        path = f"/api/metrics/{path_part('metric_id', metric_id)}"
        return read(Metric, self._one(limits.GET_METRIC, path, "metric_id"))

    def id_of(self, name: str) -> str:
        """The id of the metric with this name; Klaviyo has no filter for it, so all are read once.

        Raises:
            NotFoundError: there is none.
            InvalidArgumentError: there are several (each integration may have one).
        """
        text("metric", name)
        if name not in self._ids:
            self._ids = {}
            for one in self.all():
                self._ids.setdefault(one.name or "", []).append(one.id)
        found = self._ids.get(name, [])
        if not found:
            raise NotFoundError("metric: Klaviyo has no metric of this name", 404)
        if len(found) > 1:
            text_ = f"{len(found)} metrics have this name; give metric_id, one of"
            raise InvalidArgumentError("metric", f"{text_} {', '.join(found)}")
        return found[0]

    def id_given(self, metric_id: str | None, name: str | None) -> str | None:
        """The id that one of the two arguments means; None where neither is given."""
        if metric_id is not None and name is not None:
            raise InvalidArgumentError("metric_id | metric", "give one of them, not both")
        if metric_id is not None:
            return text("metric_id", metric_id)
        return None if name is None else self.id_of(name)

    def aggregate(
        self,
        *,
        metric_id: str | None = None,
        metric: str | None = None,
        start: Moment,
        end: Moment,
        measurements: Sequence[Measurement] = ("count",),
        interval: Interval = "day",
        by: Sequence[str] = (),
        where: Mapping[str, str | Sequence[str]] | None = None,
        count: int | None = None,
        timezone: str = "UTC",
    ) -> Aggregate:
        """Numbers of a metric over time, in groups if you like (60 requests a minute at most).

        Args:
            metric_id, metric: which, by its id or its name.
            start, end: from when, and until before when.
            measurements: count (events), unique (profiles), sum_value (of the events' values).
            interval: hour, day, week or month.
            by: dimensions to group by, out of `aggregates.DIMENSIONS`.
            where: dimension -> the value that it must have, or several of which it must have one.
            count: at most so many groups.
            timezone: of the IANA database; in it days begin. `dates` come in UTC all the same.
        """
        number("count", count)
        wanted = AggregateQuery(
            start=moment("start", start),
            end=moment("end", end),
            measurements=measurements,
            interval=interval,
            by=by,
            where=where or {},
            timezone=timezone,
        )
        wanted.check()
        identity = self.id_given(metric_id, metric)
        if identity is None:
            raise InvalidArgumentError("metric_id | metric", "one of them is needed")
        return self._aggregate(identity, wanted, count)

    def _aggregate(self, metric_id: str, wanted: AggregateQuery, count: int | None) -> Aggregate:
        ask = self._naming("metric_id")
        document = ask(wanted.request(metric_id))
        dates, rows = read_page(document)
        while (count is None or len(rows) < count) and (cursor := cursor_after(document)):
            document = ask(wanted.request(metric_id, cursor))
            rows += read_page(document)[1]
        return Aggregate(metric_id, tuple(wanted.by), dates, rows[:count])
