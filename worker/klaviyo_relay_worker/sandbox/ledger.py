"""The recorded events and their metrics.

Not thread-safe: the store's lock guards it. An event is stored in about 600 bytes, its
properties as JSON text, so that 300,000 of them stay below 200 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from .ids import IdMaker, event_number


class NewEvent(NamedTuple):
    """An event as a request gives it, checked; `time` in epoch seconds."""

    metric: str
    time: int
    value: float | None
    currency: str | None
    unique_id: str | None
    properties: bytes

    def key(self) -> str:
        """What tells it from others of its profile and metric.

        Without a unique_id that is the time in whole seconds, so that Klaviyo keeps one
        such event a second (Klaviyo OpenAPI 2026-07-15, create_event `unique_id`).
        """
        return self.unique_id or str(self.time)


class Metric(msgspec.Struct, gc=False):
    """A kind of event."""

    id: str
    name: str
    created: float


class Event(msgspec.Struct, gc=False):
    """A recorded event."""

    number: int
    profile_id: str
    metric_id: str
    time: int
    value: float | None
    currency: str | None
    unique_id: str
    properties: bytes


class Ledger:
    """Events by number, with their repeats kept out."""

    def __init__(self, ids: IdMaker) -> None:
        """Start empty; `ids` names the metrics to come."""
        self._ids = ids
        self._events: dict[int, Event] = {}
        self._next = 1
        self._keys: set[tuple[str, str, str]] = set()
        self._of_profile: dict[str, list[int]] = {}
        self._metrics: dict[str, Metric] = {}
        self._metric_by_id: dict[str, Metric] = {}

    def __len__(self) -> int:
        """How many distinct events are recorded."""
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        """Every event, in the order of recording."""
        return iter(self._events.values())

    def metrics(self) -> list[Metric]:
        """Every metric, oldest first."""
        return list(self._metrics.values())

    def metric(self, metric_id: str) -> Metric | None:
        """The metric with this id."""
        return self._metric_by_id.get(metric_id)

    def event(self, event_id: str) -> Event | None:
        """The event with this id."""
        number = event_number(event_id)
        return None if number is None else self._events.get(number)

    def of(self, profile_id: str) -> list[Event]:
        """The events of one profile."""
        return [self._events[number] for number in self._of_profile.get(profile_id, ())]

    def has(self, profile_id: str, new: NewEvent) -> bool:
        """Whether this profile already has an event of that metric under that key."""
        metric = self._metrics.get(new.metric)
        return metric is not None and (profile_id, metric.id, new.key()) in self._keys

    def record(self, profile_id: str, new: NewEvent, now: float) -> bool:
        """Keep `new`; False when it repeats one that is kept already."""
        metric = self._metrics.get(new.metric) or self._new_metric(new.metric, now)
        unique_id = new.key()
        key = (profile_id, metric.id, unique_id)
        if key in self._keys:
            return False
        self._keys.add(key)
        number = self._next
        self._next += 1
        self._events[number] = Event(
            number,
            profile_id,
            metric.id,
            new.time,
            new.value,
            new.currency,
            unique_id,
            new.properties,
        )
        self._of_profile.setdefault(profile_id, []).append(number)
        return True

    def forget(self, profile_id: str) -> None:
        """Drop the events of one profile."""
        for number in self._of_profile.pop(profile_id, ()):
            event = self._events.pop(number)
            self._keys.discard((profile_id, event.metric_id, event.unique_id))

    def move(self, source_id: str, target_id: str) -> None:
        """Give the events of one profile to another; a repeat stays out there, too."""
        for number in self._of_profile.pop(source_id, ()):
            event = self._events[number]
            self._keys.discard((source_id, event.metric_id, event.unique_id))
            key = (target_id, event.metric_id, event.unique_id)
            if key in self._keys:
                del self._events[number]
                continue
            self._keys.add(key)
            event.profile_id = target_id
            self._of_profile.setdefault(target_id, []).append(number)

    def _new_metric(self, name: str, now: float) -> Metric:
        metric = Metric(self._ids.short(), name, now)
        self._metrics[name] = self._metric_by_id[metric.id] = metric
        return metric
