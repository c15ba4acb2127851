"""Events of one metric, counted by interval and by dimension: computation without a store."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

import msgspec

from .aggregate_bodies import Interval
from .filters import Condition
from .ledger import Event

_CURRENCY = "$value_currency"
_MISSING = ""
"""The dimension of an event without such a property."""
_HOUR_SECONDS = 3600

Dimensions = tuple[str, ...]


class Range(NamedTuple):
    """A range of time, its end excluded (epoch seconds), cut into intervals of a time zone."""

    since: float
    until: float
    interval: Interval
    zone: tzinfo

    def starts(self) -> list[int]:
        """Where each interval that touches the range begins, in epoch seconds.

        The first one begins before the range, if that begins inside an interval (recorded).
        Weeks are taken to begin on Mondays, which Klaviyo does not document.
        """
        if self.interval == "hour":
            first = self._local(self.since).replace(minute=0, second=0, microsecond=0)
            return list(range(int(first.timestamp()), _ceiled(self.until), _HOUR_SECONDS))
        found = []
        day = self._first_day()
        while day.timestamp() < self.until:
            found.append(int(day.timestamp()))
            day = self._day_after(day)
        return found

    def _local(self, instant: float) -> datetime:
        return datetime.fromtimestamp(instant, self.zone)

    def _first_day(self) -> datetime:
        day = self._local(self.since).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.interval == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.interval == "month" else day

    def _day_after(self, day: datetime) -> datetime:
        """The local midnight at which the next interval begins: wall time, so clocks may turn."""
        if self.interval == "month":
            return (day + timedelta(days=31)).replace(day=1)
        return day + timedelta(days=7 if self.interval == "week" else 1)


class Row(msgspec.Struct):
    """The measurements of the events with equal dimensions, one number an interval."""

    count: list[int]
    sum_value: list[float]
    people: dict[int, set[str]] = {}
    """The ids of profiles by interval; most intervals of a long range have none."""

    @classmethod
    def zeros(cls, length: int) -> Row:
        """Nothing counted yet, in so many intervals."""
        return cls([0] * length, [0.0] * length)

    def add(self, index: int, event: Event) -> None:
        """Count an event in the interval with this index."""
        self.count[index] += 1
        self.sum_value[index] += event.value or 0.0
        self.people.setdefault(index, set()).add(event.profile_id)

    def measurements(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """The measurements by name; `unique` counts profiles."""
        unique = [len(self.people.get(index, ())) for index in range(len(self.count))]
        every: dict[str, list[Any]] = {
            "count": self.count,
            "sum_value": self.sum_value,
            "unique": unique,
        }
        return {name: every[name] for name in names}


def rows(
    events: Iterable[Event],
    span: Range,
    starts: Sequence[int],
    by: Sequence[str],
    conditions: Sequence[Condition],
) -> dict[Dimensions, Row]:
    """The events in `span` that fulfil all conditions, counted; by dimensions in their order.

    Without `by` there is one row even if nothing happened (recorded); with it, only those of
    events that there are.
    """
    found: dict[Dimensions, Row] = {} if by else {(): Row.zeros(len(starts))}
    for event in events:
        if not span.since <= event.time < span.until:
            continue
        properties = _properties(event) if by or conditions else {}
        if not all(one.holds(_text(properties.get(one.field))) for one in conditions):
            continue
        key = tuple(_text(properties.get(name)) for name in by)
        if key not in found:
            found[key] = Row.zeros(len(starts))
        found[key].add(bisect_right(starts, event.time) - 1, event)
    return dict(sorted(found.items()))


def _properties(event: Event) -> dict[str, Any]:
    properties: dict[str, Any] = msgspec.json.decode(event.properties)
    if event.currency is not None:
        properties[_CURRENCY] = event.currency
    return properties


def _text(value: object) -> str:
    """A property as a dimension shows it: text as it is, everything else as JSON."""
    if value is None:
        return _MISSING
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _ceiled(instant: float) -> int:
    return int(-(-instant // 1))
