"""Erasure: a forgotten person's older commands leave every lane, and the deletion waits its turn.

Klaviyo must not be asked while anything older of that person may still reach it: a batch of a
planner that took its lane before the tombstone was planted, or a row in an import job. Every later
planner sees the tombstone when it reads and before it sends (`admission`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
from redis import Redis

from klaviyo_relay.keys import Keys, LaneKeys, split
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.dead_letters import DeadLetter, stored_letter
from klaviyo_relay_worker.journal import JOURNAL_BYTES
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.outcome import Rule
from klaviyo_relay_worker.plan.batch import identities
from klaviyo_relay_worker.settlement import outline_of, read_job, read_parked
from klaviyo_relay_worker.tombstones import Tombstone

_PRIVACY = "privacy"
_AT_ONCE = 500


class Erasure:
    """Looks through the lanes of one account."""

    def __init__(self, redis: Redis, keys: Keys, account: str) -> None:
        self._redis = redis
        self._keys = keys
        self._account = account
        self._purge: Any = redis.register_script(script_of("klaviyo_relay_worker", "purge"))

    def planners(self) -> dict[str, str]:
        """Lane -> token of the planner that is at it."""
        found = {}
        for lane in self._lanes():
            token: Any = self._redis.get(self._keys.lane(self._account, lane).lease)
            if token is not None:
                found[lane] = token.decode()
        return found

    def is_under_way(self, who: str, stone: Tombstone) -> bool:
        """Whether anything older of a person may still reach Klaviyo."""
        for lane, token in (stone.awaits or {}).items():
            holder: Any = self._redis.get(self._keys.lane(self._account, lane).lease)
            if holder is not None and holder.decode() == token:
                return True
        return any(self._is_followed(lane, who) for lane in self._lanes())

    def purge(self, persons: Mapping[str, Tombstone]) -> int:
        """Take what is forgotten out of all lanes, dead letters included.

        Args:
            persons: identity in normal form -> its tombstone.

        Returns:
            How many commands; they count as dropped by the rule `forgotten`.
        """
        return sum(self._purge_lane(lane, persons) for lane in self._lanes()) if persons else 0

    def _lanes(self) -> list[str]:
        names: Any = self._redis.smembers(self._keys.register)
        pairs = (split(name.decode()) for name in names)
        return sorted(
            lane for account, lane in pairs if account == self._account and lane != _PRIVACY
        )

    def _is_followed(self, lane: str, who: str) -> bool:
        jobs: Any = self._redis.hvals(self._keys.lane(self._account, lane).following)
        return any(_is_about(job, who) for job in jobs if _may_be_about(job, who))

    def _purge_lane(self, lane: str, persons: Mapping[str, Tombstone]) -> int:
        keys = self._keys.lane(self._account, lane)
        # One of several tombstones may await this lane's planner: then it is left alone for all.
        holder: Any = self._redis.get(keys.lease)
        tokens = [(stone.awaits or {}).get(lane, "") for stone in persons.values()]
        awaited = holder.decode() if holder and holder.decode() in tokens else ""
        found = self._found(lane, keys, persons)
        purged = 0
        while chunk := list(islice(found, _AT_ONCE)):
            arguments = [word for pair in chunk for word in pair]
            purged += self._purge(
                keys=[
                    keys.stream,
                    keys.counts,
                    keys.parked,
                    keys.due,
                    keys.dead,
                    keys.lease,
                    keys.journal,
                ],
                args=[awaited, Rule.FORGOTTEN, JOURNAL_BYTES, *arguments],
            )
        return purged

    def _found(
        self, lane: str, keys: LaneKeys, persons: Mapping[str, Tombstone]
    ) -> Iterator[tuple[str, str]]:
        """Kind and name of every command that is to go, as `purge.lua` takes them."""
        reader, after = Lane(self._redis, self._keys, self._account, lane), "0-0"
        while True:
            entries, _, cursor = reader.read(after, _AT_ONCE)
            yield from (("s", e.key) for e in entries if _is_forgotten(e.envelope, persons))
            if cursor == after:
                break
            after = cursor
        for name, stored in self._redis.hscan_iter(keys.parked, count=_AT_ONCE):
            if _is_parked_forgotten(stored, persons):
                yield "p", name.decode()
        for name, stored in self._redis.hscan_iter(keys.dead, count=_AT_ONCE):
            letter = stored_letter(keys.name, name.decode(), stored)
            if _is_letter_forgotten(letter, persons):
                yield "d", name.decode()


def _is_forgotten(envelope: Any, persons: Mapping[str, Tombstone]) -> bool:
    return any(
        who in persons and envelope.at <= persons[who].at for who in identities(envelope.command)
    )


def _is_letter_forgotten(letter: DeadLetter, persons: Mapping[str, Tombstone]) -> bool:
    if letter.envelope is not None:
        return _is_forgotten(letter.envelope, persons)
    return _is_told_of((letter.message or "").encode(), letter.dead_at, persons)


def _is_parked_forgotten(stored: bytes, persons: Mapping[str, Tombstone]) -> bool:
    record = read_parked(stored)
    if record is not None:
        return _is_forgotten(record.envelope, persons)
    return _is_told_of(stored, outline_of(stored).since, persons)


def _is_told_of(text: bytes, since: float, persons: Mapping[str, Tombstone]) -> bool:
    """Whether what cannot be read names one of them, and was there before the deletion."""
    return any(
        _may_be_about(text, who) and since * 1000 <= stone.planted for who, stone in persons.items()
    )


def _is_about(stored: bytes, who: str) -> bool:
    """Whether an import job has a row of a person; one that cannot be read may have."""
    job = read_job(stored)
    return job is None or any(who in identities(row.envelope.command) for row in job.rows)


def _may_be_about(stored: bytes, who: str) -> bool:
    """Cheaper than decoding ten thousand rows of somebody else's."""
    needle = msgspec.json.encode(who.partition(":")[2])[1:-1]
    return needle.decode().lower() in stored.decode("utf-8", "replace").lower()
