"""All that makes up one running sandbox, and the questions tests ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from . import consents
from .arrangements import Arranging
from .faults import FaultSwitch, Rule, rules_from
from .ids import event_id
from .journal import Entry, Journal
from .ledger import Event
from .limits import RateLimits
from .people import Profile
from .recording import Arranged, Recording, Reset, Turned
from .routes import ENDPOINTS, OPERATIONS
from .settings import Settings, changed
from .store import Store
from .times import AccountClock, Clock, iso

_POLL_SECONDS = 0.05
"""How often a waiter looks again while a job is due later; nothing wakes it for that."""


class Minima(NamedTuple):
    """What a waiter waits for: at least so many of each."""

    events: int = 0
    profiles: int = 0
    requests: int = 0
    members: Mapping[str, int] = {}
    """By list id or name."""


class State:
    """Settings, store, limits, faults and journal of one sandbox."""

    def __init__(self, settings: Settings, clock: Clock, seed: int) -> None:
        """An empty account."""
        self.clock = AccountClock(clock)
        self.store = Store(self.clock, seed)
        self.limits = RateLimits(self.clock)
        self.faults = FaultSwitch(seed)
        self.journal = Journal()
        self.recording: Recording | None = None
        self.log: Recording | None = None
        self.stopping = threading.Event()
        self.turn(settings)

    def configure(self, changes: Mapping[str, object]) -> Settings:
        """Change settings; raises msgspec.ValidationError on a bad one."""
        with self.store.open() as now:
            self.turn(changed(self.settings, changes))
            if self.recording is not None:
                self.recording.note(Turned(at=now, settings=self.settings))
        return self.settings

    def turn(self, settings: Settings) -> None:
        """Put these settings in force."""
        self.settings = settings
        jump = settings.clock_offset_seconds - self.clock.offset_seconds
        self.clock.offset_seconds = settings.clock_offset_seconds
        self.store.jobs.shift(jump)
        self.store.hold_jobs(hold=not settings.finish_jobs)

    def use_up(self, endpoint: str, calls: int) -> int:
        """Let another integration make calls; gives how many were within the limits."""
        for operation in OPERATIONS:
            if operation.endpoint == endpoint:
                return self.limits.use_up(endpoint, operation.tier, calls)
        raise ValueError(f"there is no endpoint {endpoint!r}")

    def set_faults(self, given: object) -> list[Rule]:
        """Put rules in force; raises ValueError or msgspec.ValidationError on a bad one."""
        rules = rules_from(given)
        for rule in rules:
            if rule.endpoint != "*" and rule.endpoint not in ENDPOINTS:
                raise ValueError(f"there is no endpoint {rule.endpoint!r}")
        self.faults.set(rules)
        return rules

    def arrange(self, what: Arranging) -> dict[str, str]:
        """Do what no request could; raises ValueError where somebody is unknown."""
        with self.store.changed, self.clock.held(), self.store.open() as now:
            made = what.arrange(self.store, now)
            if self.recording is not None:
                self.recording.note(Arranged(at=now, what=what))
            self.store.changed.notify_all()
        return made

    def reset(self) -> None:
        """Forget data, faults, counts and the log; keep the settings."""
        with self.store.changed:
            self.store.clear()
            self.limits.clear()
            self.faults.set([])
            self.journal.clear()
            if self.recording is not None:
                self.recording.note(Reset(at=self.clock()))

    def note(self, entry: Entry) -> None:
        """Log a request and wake those who wait for its effects."""
        with self.store.changed:
            self.journal.add(entry)
            if self.log is not None:
                self.log.note(entry)
            self.store.changed.notify_all()

    def summary(self) -> dict[str, Any]:
        """What is recorded and what was answered, in numbers."""
        with self.store.open():
            return {
                "events": len(self.store.ledger),
                "profiles": len(self.store.people),
                "lists": {
                    one.id: {"name": one.name, "members": len(one.members)}
                    for one in self.store.lists
                },
                "requests": self.journal.counts(),
                "throttled": self.journal.with_status("429"),
                "refused": self.journal.with_status("400"),
                **msgspec.structs.asdict(self.store.tally),
            }

    def wait(self, minima: Minima, timeout: float) -> tuple[bool, dict[str, Any]]:
        """Wait until all minima hold, at most `timeout` seconds; say whether they do."""
        deadline = time.monotonic() + timeout
        with self.store.changed:
            while not (met := self._met(minima)):
                left = deadline - time.monotonic()
                if left <= 0 or self.stopping.is_set():
                    break
                pause = min(left, _POLL_SECONDS) if self.store.jobs.waiting() else left
                self.store.changed.wait(pause)
        return met, self.summary()

    def close(self) -> None:
        """Close the files."""
        with self.store.changed:
            for file in (self.recording, self.log):
                if file is not None:
                    file.close()
            self.recording = self.log = None

    def stop(self) -> None:
        """Let everyone who waits or hangs go."""
        self.stopping.set()
        with self.store.changed:
            self.store.changed.notify_all()

    def events(self, offset: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """The recorded events in the order of recording."""
        with self.store.open():
            found = list(self.store.ledger)
            metrics = {one.id: one.name for one in self.store.ledger.metrics()}
        end = None if limit is None else offset + limit
        return [_event(one, metrics[one.metric_id]) for one in found[offset:end]]

    def profiles(self) -> list[dict[str, Any]]:
        """All profiles with their consents and lists."""
        with self.store.open():
            lists = list(self.store.lists)
            return [
                _profile(one, [each.id for each in lists if one.id in each.members])
                for one in self.store.people
            ]

    def _met(self, minima: Minima) -> bool:
        with self.store.open():
            lists = {name: self.store.lists.named(name) for name in minima.members}
            return (
                len(self.store.ledger) >= minima.events
                and len(self.store.people) >= minima.profiles
                and self.journal.total >= minima.requests
                and all(
                    one is not None and len(one.members) >= minima.members[name]
                    for name, one in lists.items()
                )
            )


def _event(one: Event, metric: str) -> dict[str, Any]:
    return {
        "id": event_id(one.number),
        "profile_id": one.profile_id,
        "metric": metric,
        "time": one.time,
        "datetime": iso(one.time),
        "value": one.value,
        "value_currency": one.currency,
        "unique_id": one.unique_id,
        "properties": msgspec.json.decode(one.properties),
    }


def _profile(one: Profile, list_ids: list[str]) -> dict[str, Any]:
    return {
        "id": one.id,
        "email": one.email,
        "phone_number": one.phone_number,
        "external_id": one.external_id,
        "anonymous_id": one.anonymous_id,
        **one.attributes,
        "location": dict(one.location),
        "properties": dict(one.properties),
        "created": iso(one.created),
        "updated": iso(one.updated),
        "subscriptions": consents.document(one.consent),
        "lists": list_ids,
    }
