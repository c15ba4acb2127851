"""Groups of dead letters: what was refused for the same cause, counted by a bounded look.

The commands themselves stay in Redis (see `scripts/heads.lua`): a page about a hundred thousand
dead letters needs none of them, and they are private.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys, LaneKeys, split
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.dead_letters import FOREIGN, UNREADABLE
from klaviyo_relay_worker.outcome import Failure

# Of so many dead letters of a lane the page tells the causes.
SCANNED_MOST = 5_000
# One step of a scan keeps Redis for a fraction of a millisecond.
_AT_ONCE = 100
_SCAN_SECONDS = 5.0
_INDEX = re.compile(r"(?<=/)\d+(?=/|$)|(?<=\[)\d+(?=\])")
# Klaviyo's words may repeat what they refuse.
_PRIVATE = re.compile(r"[^\s'\"<>(),;]+@[^\s'\"<>(),;]+|\+?\d[\d\s().-]{5,}\d")
_MASK = "•••"


class Head(Struct, frozen=True, kw_only=True):
    """A dead letter without its command; as `dead_letters.DeadLetter` otherwise."""

    id: str
    lane: str
    verb: str
    failure: Failure
    dead_at: float
    attempts: int = 1


class Cause(Struct, frozen=True, order=True):
    """What the letters of a group have in common.

    Attributes:
        lane: `account:lane`.
        status: HTTP status, or 0 where Klaviyo was not asked.
        code: Klaviyo's.
        pointer: the part at fault, with `*` for each place in a list.
    """

    lane: str
    status: int
    code: str
    pointer: str

    @property
    def name(self) -> str:
        """A short name for addresses and forms."""
        text = f"{self.lane}\0{self.status}\0{self.code}\0{self.pointer}"
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Group(Struct):
    """Dead letters with one cause.

    Attributes:
        cause: theirs.
        title, detail: Klaviyo's words for one of them, without addresses and numbers.
        count: how many were seen.
        verbs: what they asked.
        first_at, last_at: when they died, in seconds since 1970.
    """

    cause: Cause
    title: str
    detail: str
    count: int = 0
    verbs: set[str] = msgspec.field(default_factory=set)
    first_at: float = float("inf")
    last_at: float = 0.0

    def add(self, head: Head) -> None:
        """Count one more."""
        self.count += 1
        self.verbs.add(head.verb)
        self.first_at = min(self.first_at, head.dead_at)
        self.last_at = max(self.last_at, head.dead_at)


_decode = msgspec.json.Decoder(Head).decode


class Heads:
    """Reads dead letters without their commands, page by page."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._keys = keys
        self._script: Any = redis.register_script(
            script_of("klaviyo_relay_worker.dashboard", "heads")
        )

    def scan(self, lane: str, most: int) -> Scan:
        """Dead letters of a lane in no order, each once: at most so many, and for seconds at most.

        A letter that comes or goes meanwhile may be missed.
        """
        return Scan(self._script, self._keys.lane(*split(lane)), most)


class Scan:
    """One look through the dead letters of a lane, to be gone through once.

    Attributes:
        is_whole: whether it came to the end; known afterwards.
    """

    def __init__(self, script: Any, keys: LaneKeys, most: int) -> None:
        self._script = script
        self._keys = keys
        self._most = most
        self.is_whole = False

    def __iter__(self) -> Iterator[Head]:
        """The letters."""
        seen: set[str] = set()
        for head in self._all():
            if head.id not in seen:
                if len(seen) == self._most:
                    return
                seen.add(head.id)
                yield head
        self.is_whole = self._cursor == b"0"

    def _all(self) -> Iterator[Head]:
        """All, some of them twice while Redis makes the hash larger or smaller."""
        self._cursor, until = b"0", time.monotonic() + _SCAN_SECONDS
        while True:
            self._cursor, *flat = self._script(
                keys=[self._keys.dead], args=[self._cursor, _AT_ONCE]
            )
            for identity, stored in zip(flat[::2], flat[1::2], strict=True):
                yield _head(self._keys.name, identity, stored)
            if self._cursor == b"0" or time.monotonic() > until:
                return


def groups_of(heads: Iterable[Head]) -> list[Group]:
    """The groups, largest first."""
    found: dict[Cause, Group] = {}
    for head in heads:
        cause = cause_of(head)
        group = found.get(cause)
        if group is None:
            failure = head.failure
            group = Group(cause, masked_words(failure.title), masked_words(failure.detail))
            found[cause] = group
        group.add(head)
    return sorted(found.values(), key=lambda group: (-group.count, group.cause))


def cause_of(head: Head) -> Cause:
    """Why a letter is dead."""
    failure = head.failure
    code = failure.code or masked_words(failure.title)
    return Cause(head.lane, failure.status, code, _INDEX.sub("*", failure.pointer))


def masked_words(text: str) -> str:
    """Klaviyo's words with what looks like an address or a telephone number left out."""
    return _PRIVATE.sub(_MASK, text)


def _head(lane: str, identity: bytes, stored: bytes) -> Head:
    try:
        return _decode(stored)
    except UNREADABLE:
        name = identity.decode("utf-8", "backslashreplace")
        return Head(id=name, lane=lane, verb="?", failure=FOREIGN, dead_at=0.0)
