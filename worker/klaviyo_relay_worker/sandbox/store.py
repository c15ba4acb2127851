"""Everything the sandbox remembers, under one lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from .errors import duplicate, not_found
from .ids import IdMaker
from .jobs import Jobs
from .ledger import Ledger, NewEvent
from .lists import Lists
from .people import NO_PATCH, Patch, People, Profile, Who, apply
from .segments import Segments
from .times import Clock


class Tally(msgspec.Struct):
    """What happened without leaving a record."""

    duplicates_discarded: int = 0
    silently_dropped: int = 0
    global_unsubscribes: int = 0
    """Profiles that were not on the list an unsubscribe named, and so lost everything."""
    deletions: int = 0


class Store:
    """Profiles, events, lists, segments, jobs and the tally.

    Take `open()` for everything else. Nobody sleeps or writes to a socket inside.
    """

    def __init__(self, clock: Clock, seed: int) -> None:
        """An empty account; `seed` decides the ids."""
        self.clock = clock
        self.changed = threading.Condition()
        self._seed = seed
        self._holds_jobs = False
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self.changed:
            ids = IdMaker(self._seed)
            self.people = People(ids)
            self.ledger = Ledger(ids)
            self.lists = Lists(ids)
            self.segments = Segments(ids)
            self.jobs = Jobs(ids)
            self.jobs.are_held = self._holds_jobs
            self.tally = Tally()

    def hold_jobs(self, *, hold: bool) -> None:
        """Leave jobs undone, or let those go on that are due by now."""
        with self.changed:
            self._holds_jobs = self.jobs.are_held = hold

    @contextmanager
    def open(self) -> Iterator[float]:
        """Hold the lock, with all due jobs done; gives the present instant."""
        with self.changed:
            now = self.clock()
            self.jobs.finish_due(now)
            yield now

    # The rest is called with the store open.

    def named(self, wanted: str, now: float) -> Profile:
        """The profile with this id or email; an unknown email makes one.

        Raises ValueError for an unknown id.
        """
        known = self.people.get(wanted) or self.people.holder("email", wanted.lower())
        if known is None and "@" not in wanted:
            raise ValueError(f"there is no profile {wanted!r}")
        return known or self.people.create(Who(email=wanted.lower()), now)

    def identify(self, who: Who, patch: Patch, now: float) -> Profile | None:
        """The profile an event belongs to, changed by what the event says about it.

        Events never conflict: identifiers that someone else holds are left there. None when
        the request knows nobody but an id that does not exist.
        """
        profile = self.people.find(who)
        if profile is None:
            if not any(who[1:]):
                return None
            profile = self.people.create(who, now)
        else:
            self._join_anonymous(profile, who)
            if profile.email and who.email:
                who = who._replace(email=None)  # an event fills an email in, never changes it
            if self.people.assign(profile, who):
                profile.updated = now
        if patch is not NO_PATCH:
            apply(profile, patch, clear_nulls=False)
            profile.updated = now
        return profile

    def upsert(
        self, who: Who, patch: Patch, now: float, *, clear_nulls: bool
    ) -> tuple[Profile, bool]:
        """Create or update a profile; the second says whether it is new. May refuse."""
        if who.id and self.people.get(who.id) is None:
            raise not_found("profile", who.id, "/data/id")
        profile = self.people.find(who)
        if rival := self.people.rival(who, profile):
            raise duplicate(rival[0].id, rival[1])
        new = profile is None
        if profile is None:
            profile = self.people.create(who, now)
        else:
            self._join_anonymous(profile, who)
            self.people.assign(profile, who)
        if clear_nulls:
            self.people.clear(profile, patch.cleared)
        apply(profile, patch, clear_nulls=clear_nulls)
        profile.updated = now
        return profile, new

    def record(self, profile: Profile, event: NewEvent, now: float) -> bool:
        """Record an event of `profile`; False when it is a repeat, which is discarded."""
        if not self.ledger.record(profile.id, event, now):
            self.tally.duplicates_discarded += 1
            return False
        profile.last_event = max(profile.last_event or 0, event.time)
        return True

    def delete(self, profile: Profile) -> None:
        """Forget a profile with all that hangs on it."""
        self.ledger.forget(profile.id)
        self.lists.forget(profile.id)
        self.segments.forget(profile.id)
        self.people.delete(profile)
        self.tally.deletions += 1

    def _join_anonymous(self, profile: Profile, who: Who) -> None:
        """Merge the nameless profile behind `who.anonymous_id` into `profile`."""
        if not who.anonymous_id:
            return
        nameless = self.people.holder("anonymous_id", who.anonymous_id)
        if nameless is None or nameless is profile:
            return
        if nameless.email or nameless.phone_number or nameless.external_id:
            return
        self.ledger.move(nameless.id, profile.id)
        self.lists.move(nameless.id, profile.id)
        self.segments.move(nameless.id, profile.id)
        profile.properties = {**nameless.properties, **profile.properties}
        profile.attributes = {**nameless.attributes, **profile.attributes}
        for token in nameless.push_tokens:
            self.people.give_token(profile, token)
        self.people.delete(nameless)
