"""The consent room: what must be remembered of consent across turns, workers and redrives.

    clock   the latest withdrawals of each address, so that nothing older is ever sent again
    joins   when we last made somebody a member of a list that an unsubscribe of theirs waits for

Both live in the slot of the account's consent lane; people stand in them by pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from redis import Redis

from klaviyo_relay.commands import AddToList, Command, Subscribe, Suppress, Unsubscribe
from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.outcome import Delivered, Following, Outcome, Parked, Parking
from klaviyo_relay_worker.plan.batch import Entry, identities
from klaviyo_relay_worker.plan.withdrawals import SENT, Lists, addresses_of, place_of, places_of
from klaviyo_relay_worker.pseudonyms import Pseudonyms

# What one call carries; more would make others wait.
_AT_ONCE = 500
_decode_times = msgspec.json.Decoder(dict[str, int]).decode


def is_on_list(command: Command) -> bool:
    """Whether a command names a list."""
    return any(getattr(command, name, None) is not None for name in ("list_id", "list_name"))


class ConsentClock:
    """The consent clock of one account."""

    def __init__(self, redis: Redis, keys: Keys, account: str, pseudonyms: Pseudonyms) -> None:
        self._redis = redis
        self._key = keys.clock(account)
        self._pseudonyms = pseudonyms
        self._write: Any = redis.register_script(script_of("klaviyo_relay_worker", "clock"))

    def record(self, entries: Iterable[Entry]) -> None:
        """Note what unsubscribes and suppressions withdraw. Never set back, so it may be repeated.

        Raises:
            redis.RedisError: Redis is away; nothing may be sent then.
        """
        self._set(
            [
                (address, place_of(entry.command), entry.envelope.at)
                for entry in _withdrawing(entries)
                for _, address in addresses_of(entry.command)
            ]
        )

    def sent(self, entries: Iterable[Entry], now: float) -> dict[str, int]:
        """Note that withdrawals are being sent: Klaviyo will date them later than they are.

        Returns:
            Address -> milliseconds since 1970.
        """
        times = {
            address: int(now * 1000)
            for entry in _withdrawing(entries)
            for _, address in addresses_of(entry.command)
        }
        self._set([(address, SENT, at) for address, at in times.items()])
        return times

    def read(self, addresses: Sequence[str]) -> dict[str, dict[str, int]]:
        """What is withdrawn of some addresses: address -> place -> milliseconds since 1970."""
        if not addresses:
            return {}
        fields = [self._pseudonyms.of(address) for address in addresses]
        stored: Any = self._redis.hmget(self._key, fields)
        pairs = zip(addresses, stored, strict=True)
        return {address: _decode_times(times) for address, times in pairs if times is not None}

    def _set(self, times: Sequence[tuple[str, str, int]]) -> None:
        for at in range(0, len(times), _AT_ONCE):
            arguments: list[Any] = []
            for address, place, when in times[at : at + _AT_ONCE]:
                arguments += [self._pseudonyms.of(address), place, when]
            self._write(keys=[self._key], args=arguments)


def _withdrawing(entries: Iterable[Entry]) -> list[Entry]:
    return [one for one in entries if isinstance(one.command, (Unsubscribe, Suppress))]


class Joins:
    """Who may be about to join a list from which an unsubscribe of theirs wants to take them."""

    def __init__(self, redis: Redis, keys: Keys, account: str, pseudonyms: Pseudonyms) -> None:
        self._redis = redis
        self._key = keys.joins(account)
        self._pseudonyms = pseudonyms
        self._write: Any = redis.register_script(script_of("klaviyo_relay_worker", "joins"))

    def settling(
        self,
        entries: Sequence[Entry],
        outcomes: Mapping[str, Outcome],
        lists: Lists,
        now: float,
    ) -> None:
        """Note, before outcomes are written down, what they mean for waiting unsubscribes."""
        found: dict[str, list[Entry]] = {"await": [], "join": [], "forget": []}
        for entry in entries:
            operation = _operation(entry.command, outcomes.get(entry.key))
            if operation:
                found[operation].append(entry)
        self._note("await", found["await"], lists, now)
        # Usually nobody waits, and then it costs one question.
        if (found["join"] or found["forget"]) and self._redis.exists(self._key):
            self._note("join", found["join"], lists, now)
            self._note("forget", [one for one in found["forget"] if one.parked_at], lists, now)

    def last(self, entry: Entry, lists: Lists) -> float:
        """When an unsubscribe's profile last joined its list by us, in seconds since 1970, or 0."""
        times: Any = self._redis.hmget(self._key, self._fields(entry, lists))
        return max((int(at) for at in times if at is not None), default=0) / 1000

    def _note(self, operation: str, entries: Sequence[Entry], lists: Lists, now: float) -> None:
        for at in range(0, len(entries), _AT_ONCE):
            chunk = entries[at : at + _AT_ONCE]
            fields = [field for entry in chunk for field in self._fields(entry, lists)]
            self._write(keys=[self._key], args=[operation, int(now * 1000), *fields])

    def _fields(self, entry: Entry, lists: Lists) -> list[bytes]:
        places = places_of(entry.command, lists)
        return [self._pseudonyms.of(who, at) for who in identities(entry.command) for at in places]


def _operation(command: Command, outcome: Outcome | None) -> str:
    """What an outcome means for unsubscribes that wait, as `joins.lua` names it; "" if nothing."""
    if outcome is None or not is_on_list(command):
        return ""
    if isinstance(command, Unsubscribe):
        is_waiting = isinstance(outcome, Parked) and outcome.reason == Parking.NOT_ON_LIST
        return "await" if is_waiting else "forget"
    is_joining = isinstance(command, (Subscribe, AddToList))
    return "join" if is_joining and isinstance(outcome, (Delivered, Following)) else ""
