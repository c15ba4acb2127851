"""Admission: what may not be sent, asked when a lane is read and again before each batch goes.

every lane   nothing of a person who is forgotten; what is newer than a deletion waits until
             Klaviyo has answered it
consent      withdrawals are noted before anything is sent
lists        joins are noted for unsubscribes that wait for them
privacy      tombstones are planted, and older commands purged
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from redis import Redis

from klaviyo_relay.commands import DeleteProfile, Unsubscribe
from klaviyo_relay.keys import Keys
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.breaker import family_of
from klaviyo_relay_worker.consent import ConsentClock, Joins, is_on_list
from klaviyo_relay_worker.erasure import Erasure
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Dropped, Outcome, Parked, Parking, Rule
from klaviyo_relay_worker.plan.batch import Batch, Entry
from klaviyo_relay_worker.plan.consent import settles_at_of
from klaviyo_relay_worker.plan.privacy import (
    AT_ONCE_MOST,
    Deletion,
    identity_of,
)
from klaviyo_relay_worker.plan.withdrawals import (
    SENT,
    ConsentFacts,
    Lists,
    Withdrawals,
    addresses_of,
)
from klaviyo_relay_worker.pseudonyms import Pseudonyms
from klaviyo_relay_worker.tombstones import Tombstone, Tombstones

DELETION_AGAIN_SECONDS = 1.0

Outcomes = Mapping[str, Outcome]
ListsOf = Callable[[str], Lists]


def admission_of(redis: Redis, keys: Keys, account: str, lane: str, lists_of: ListsOf) -> Admission:
    """The admission of a lane.

    Args:
        lists_of: account -> list names that are known, with their ids.
    """
    kind = _KINDS.get(family_of(lane), Admission)
    return kind(redis, keys, account, lists_of)


class Admission:
    """Admission to any lane."""

    def __init__(self, redis: Redis, keys: Keys, account: str, lists_of: ListsOf) -> None:
        self._redis = redis
        self._keys = keys
        self._account = account
        self._lists_of = lists_of
        self._pseudonyms = Pseudonyms(redis, keys)
        self._tombstones = Tombstones(redis, keys, account, self._pseudonyms)

    def taken(self, entries: Sequence[Entry], now: float) -> Outcomes:
        """What becomes at once of entries that were just read, by their keys.

        Raises:
            redis.RedisError: Redis is away; nothing may be sent then.
        """
        return self.refused(entries, now)

    def leaving(self, batch: Batch, now: float) -> Outcomes:
        """The same for entries that are about to be sent. The others may go.

        Raises:
            redis.RedisError: Redis is away; nothing may be sent then.
        """
        return self.refused(batch.entries, now)

    def facts(self, _waiting: Sequence[Entry], _now: float) -> Any:
        """What the plan of this lane must know beside the commands."""
        return None

    def settling(self, entries: Sequence[Entry], outcomes: Outcomes, now: float) -> None:
        """Note what outcomes mean elsewhere, before they are written down."""

    def refused(self, entries: Sequence[Entry], now: float) -> dict[str, Outcome]:
        """Entries of people to be forgotten. Costs one question where nobody is."""
        if not entries or not self._tombstones.exist():
            return {}
        people = {who for entry in entries for who in entry.identities}
        stones = self._tombstones.find(list(people))
        return dict(self._judged(entries, stones, now)) if stones else {}

    def _judged(
        self, entries: Sequence[Entry], stones: Mapping[str, Tombstone], now: float
    ) -> Iterator[tuple[str, Outcome]]:
        for entry in entries:
            of_person = {who: stones[who] for who in entry.identities if who in stones}
            outcome = self._judge(entry, of_person, now) if of_person else None
            if outcome is not None:
                yield entry.key, outcome

    def _judge(self, entry: Entry, stones: Mapping[str, Tombstone], now: float) -> Outcome | None:
        at = entry.envelope.at
        if any(at <= stone.at for stone in stones.values()):
            return Dropped(Rule.FORGOTTEN)
        if any(not stone.answered for stone in stones.values()):
            # Sent now, it would be deleted with the rest.
            return Parked(now + DELETION_AGAIN_SECONDS, Parking.AWAITS_DELETION)
        for who, stone in stones.items():
            if not stone.returned:
                self._tombstones.come_back(who, at)
        return None


class ListsAdmission(Admission):
    """Admission to the lists lanes, and what consent has in common with them."""

    def __init__(self, redis: Redis, keys: Keys, account: str, lists_of: ListsOf) -> None:
        super().__init__(redis, keys, account, lists_of)
        self._joins = Joins(redis, keys, account, self._pseudonyms)

    def settling(self, entries: Sequence[Entry], outcomes: Outcomes, now: float) -> None:
        """Note who joins a list."""
        self._joins.settling(entries, outcomes, self._lists_of(self._account), now)


class ConsentAdmission(ListsAdmission):
    """Admission to the consent lane."""

    def __init__(self, redis: Redis, keys: Keys, account: str, lists_of: ListsOf) -> None:
        super().__init__(redis, keys, account, lists_of)
        self._clock = ConsentClock(redis, keys, account, self._pseudonyms)
        self._withdrawals = Withdrawals()

    def taken(self, entries: Sequence[Entry], now: float) -> Outcomes:
        """Note withdrawals, so that they outlive everything; learn of those before."""
        self._clock.record(entries)
        self._withdrawals.note(entries)
        addresses = {address for entry in entries for _, address in addresses_of(entry.command)}
        for address, times in self._clock.read(list(addresses)).items():
            self._withdrawals.learn(address, times)
        return super().taken(entries, now)

    def leaving(self, batch: Batch, now: float) -> Outcomes:
        """Note that withdrawals go to Klaviyo."""
        refused = super().leaving(batch, now)
        if not refused:
            for address, at in self._clock.sent(batch.entries, now).items():
                self._withdrawals.learn(address, {SENT: at})
        return refused

    def facts(self, waiting: Sequence[Entry], now: float) -> ConsentFacts:
        """Withdrawals, and which unsubscribes from a list may still have something to do."""
        lists = self._lists_of(self._account)
        joining = (
            entry.key
            for entry in waiting
            if entry.parked_at
            and isinstance(entry.command, Unsubscribe)
            and is_on_list(entry.command)
            and now >= settles_at_of(entry, now)
            and self._may_join(entry, lists, now)
        )
        return ConsentFacts(self._withdrawals, frozenset(joining))

    def _may_join(self, entry: Entry, lists: Lists, now: float) -> bool:
        if now < settles_at_of(entry, now, self._joins.last(entry, lists)):
            return True
        lanes = ("lists", "lists:bulk")
        return any(
            Lane(self._redis, self._keys, self._account, lane).holds_older(entry) for lane in lanes
        )


class PrivacyAdmission(Admission):
    """Admission to the privacy lane, which nobody is refused."""

    def __init__(self, redis: Redis, keys: Keys, account: str, lists_of: ListsOf) -> None:
        super().__init__(redis, keys, account, lists_of)
        self._erasure = Erasure(redis, keys, account)

    def taken(self, entries: Sequence[Entry], _now: float) -> Outcomes:
        """Plant tombstones before anything else; purge when one is new, and once it is answered."""
        people = {_person(entry): entry.envelope.at for entry in entries}
        for who, at in people.items():
            self._tombstones.plant(who, at)
        stones = self._tombstones.find(list(people))
        unseen = {who: stone for who, stone in stones.items() if stone.awaits is None}
        seen_now = self._note_planners(unseen)
        answered = {who: stone for who, stone in stones.items() if stone.answered}
        self._erasure.purge({**answered, **unseen, **seen_now})
        return {}

    def _note_planners(self, unseen: Mapping[str, Tombstone]) -> Mapping[str, Tombstone]:
        """Note whose turns each of these must wait for: of the planners at work now."""
        if not unseen:
            return {}
        tokens = self._erasure.planners()
        for who, stone in unseen.items():
            self._tombstones.wait_for(who, stone.at, tokens)
        return self._tombstones.find(list(unseen))

    def leaving(self, batch: Batch, _now: float) -> Outcomes:
        """Note that Klaviyo is asked; not a second time once the person has come back since."""
        if batch.endpoint != limits.DELETE_PROFILE:
            return {}
        return {
            entry.key: Dropped(Rule.CAME_BACK)
            for entry in batch.entries
            if not self._tombstones.ask(_person(entry), entry.envelope.at)
        }

    def facts(self, waiting: Sequence[Entry], _now: float) -> Mapping[str, Deletion]:
        """How far the oldest deletions have come, by their keys."""
        oldest = waiting[:AT_ONCE_MOST]
        stones = self._tombstones.find([_person(entry) for entry in oldest])
        return {
            entry.key: self._deletion(entry, _person(entry), stones[_person(entry)])
            for entry in oldest
            if _person(entry) in stones
        }

    def _deletion(self, entry: Entry, who: str, stone: Tombstone) -> Deletion:
        return Deletion(
            is_under_way=not stone.answered and self._erasure.is_under_way(who, stone),
            is_accepted=bool(stone.answered) and not entry.is_redriven,
            has_returned=bool(stone.returned),
            is_superseded=entry.envelope.at < stone.at,
        )

    def settling(self, entries: Sequence[Entry], outcomes: Outcomes, _now: float) -> None:
        """Note that Klaviyo has answered: what is newer waits no longer, whatever the answer."""
        for entry in entries:
            outcome = outcomes.get(entry.key)
            is_waiting = isinstance(outcome, Parked) and outcome.reason != Parking.CHECKED_AGAIN
            if outcome is not None and not is_waiting:
                self._tombstones.answer(_person(entry), entry.envelope.at)


def _person(entry: Entry) -> str:
    command: DeleteProfile = entry.command  # type: ignore[assignment]  # the lane has no other
    return identity_of(command)


_KINDS: dict[str, type[Admission]] = {
    "consent": ConsentAdmission,
    "lists": ListsAdmission,
    "privacy": PrivacyAdmission,
}
