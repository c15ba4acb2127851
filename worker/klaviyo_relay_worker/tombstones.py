"""Tombstones: who is to be forgotten, and how far that has come.

A tombstone is planted as soon as a planner reads a deletion, and never taken away: a spool may hold
an older command of that person for as long as its machine is switched off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.pseudonyms import Pseudonyms


class Tombstone(Struct, frozen=True):
    """One person, as far as one identifier tells; all times in milliseconds since 1970.

    Attributes:
        at: when the deletion was enqueued. What is not newer is forgotten.
        planted: when a planner first read it.
        asked: when Klaviyo was last asked, or 0.
        answered: when Klaviyo had answered and the deletion was settled, or 0.
        returned: the time of the newest command that was let through since, or 0.
        awaits: lane -> token of the planner that was at it when the tombstone was planted, or None
            before anybody has looked.
    """

    at: int
    planted: int
    asked: int
    answered: int
    returned: int
    awaits: dict[str, str] | None = None


_decode = msgspec.json.Decoder(Tombstone).decode


class Tombstones:
    """All tombstones of an account."""

    def __init__(self, redis: Redis, keys: Keys, account: str, pseudonyms: Pseudonyms) -> None:
        self._redis = redis
        self._key = keys.forgotten(account)
        self._pseudonyms = pseudonyms
        self._write: Any = redis.register_script(script_of("klaviyo_relay_worker", "tombstone"))

    def exist(self) -> bool:
        """Whether anybody at all is to be forgotten."""
        return bool(self._redis.exists(self._key))

    def find(self, identities: Collection[str]) -> dict[str, Tombstone]:
        """The tombstones of those of these identities that have one."""
        if not identities:
            return {}
        fields = [self._pseudonyms.of(who) for who in identities]
        stored: Any = self._redis.hmget(self._key, fields)
        pairs = zip(identities, stored, strict=True)
        return {who: _decode(stone) for who, stone in pairs if stone is not None}

    def plant(self, who: str, at: int) -> bool:
        """Plant a tombstone; returns whether there was none as new."""
        return self._note(who, "plant", at)

    def wait_for(self, who: str, at: int, tokens: Mapping[str, str]) -> bool:
        """Note which planners were at their lanes; returns whether that was not known yet."""
        return self._note(who, "await", at, msgspec.json.encode(tokens))

    def ask(self, who: str, at: int) -> bool:
        """Note that Klaviyo is being asked; False if it was, and the person came back since."""
        return self._note(who, "ask", at)

    def answer(self, who: str, at: int) -> None:
        """Klaviyo has answered: newer commands may go."""
        self._note(who, "answer", at)

    def come_back(self, who: str, at: int) -> None:
        """A command of this time, newer than the deletion, is let through."""
        self._note(who, "return", at)

    def _note(self, who: str, operation: str, at: int, *more: bytes) -> bool:
        arguments = [self._pseudonyms.of(who), operation, at, *more]
        return bool(self._write(keys=[self._key], args=arguments))
