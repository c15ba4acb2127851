"""Dead letters: commands that Klaviyo refused for good, kept until a person decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from redis import Redis

from klaviyo_relay.envelope import Received, check_version, receive
from klaviyo_relay.keys import Keys, split
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.journal import JOURNAL_BYTES
from klaviyo_relay_worker.outcome import Failure

# A page of letters: about so many bytes, between these numbers of letters. A letter may have 5 MB,
# and usually has 1 kB. What is moved goes in the same portions: a script that moves 500 letters
# keeps Redis from all others for about 6 ms.
PAGE_BYTES = 4_000_000
PAGE_LEAST, PAGE_MOST = 10, 500

Thing = TypeVar("Thing", str, tuple[str, bytes])


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command with the reason why it was given up.

    Attributes:
        id: the command's id.
        lane: where it stood, `account:lane`.
        verb: what was asked.
        failure: Klaviyo's answer.
        dead_at: seconds since 1970.
        attempts: how many times Klaviyo has refused it.
        envelope: the command itself; None where it could not be read, and then `message` holds it.
    """

    id: str
    lane: str
    verb: str
    failure: Failure
    dead_at: float
    attempts: int = 1
    envelope: Received | None = None
    message: str | None = None

    @property
    def sendable(self) -> bytes | None:
        """The envelope to be sent again; None where this release cannot read what came.

        An older one may have been the one that could not: its letter holds the whole message.
        """
        if self.envelope is not None:
            return _encode(self.envelope)
        message = (self.message or "").encode()
        try:
            receive(message)
        except UNREADABLE:
            return None
        return message


class _Outline(Struct, frozen=True):
    """A letter whose command only the release can read that wrote it."""

    verb: str
    failure: Failure
    dead_at: float
    attempts: int = 1
    envelope: msgspec.Raw = msgspec.Raw(b"null")


# What is raised for what this release cannot read: a newer one has written it, or it is damaged.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# What cannot be read at all, not even why it died.
FOREIGN = Failure(code="unreadable_letter", title="Not written by this release")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode
_decode_outline = msgspec.json.Decoder(_Outline).decode


def stored_letter(lane: str, identity: str, stored: bytes) -> DeadLetter:
    """A letter as it is stored; one that this release cannot read keeps its content as a message.

    A newer release may have written it, before a rollback or during an upgrade.
    """
    try:
        return _read(stored)
    except UNREADABLE:
        return _unread(lane, identity, stored)


def _read(stored: bytes) -> DeadLetter:
    found = _decode(stored)
    if found.envelope is not None:
        check_version(found.envelope)
    return found


def _unread(lane: str, identity: str, stored: bytes) -> DeadLetter:
    try:
        outline = _decode_outline(stored)
    except UNREADABLE:
        outline = _Outline("?", FOREIGN, 0.0, 1, msgspec.Raw(stored))
    return DeadLetter(
        id=identity,
        lane=lane,
        verb=outline.verb,
        failure=outline.failure,
        dead_at=outline.dead_at,
        attempts=outline.attempts,
        message=bytes(outline.envelope).decode("utf-8", "backslashreplace"),
    )


def letter(
    lane: str, envelope: Received, failure: Failure, *, now: float, attempts: int = 1
) -> bytes:
    """A dead letter as it is stored.

    Args:
        now: seconds since 1970, by Redis's clock: a later deletion is compared with it.
    """
    return _encode(
        DeadLetter(
            id=envelope.id,
            lane=lane,
            verb=verb_of(envelope),
            failure=failure,
            dead_at=now,
            attempts=attempts,
            envelope=envelope,
        )
    )


def unreadable(lane: str, identity: str, message: bytes, detail: str, *, now: float) -> bytes:
    """A dead letter for a message that is no envelope; `now` as in `letter`."""
    failure = Failure(code="unreadable", title="Not an envelope", detail=detail)
    text = message.decode("utf-8", "backslashreplace")
    return _encode(
        DeadLetter(id=identity, lane=lane, verb="?", failure=failure, dead_at=now, message=text)
    )


def invalid(
    lane: str, identity: str, verb: str, arguments: str, detail: str, *, now: float
) -> bytes:
    """A dead letter for arguments of the Celery door that make no command; `now` as in `letter`."""
    failure = Failure(code="invalid", title="Refused by klaviyo-relay", detail=detail)
    return _encode(
        DeadLetter(
            id=identity,
            lane=lane,
            verb=verb,
            failure=failure,
            dead_at=now,
            message=arguments,
        )
    )


def verb_of(envelope: Received) -> str:
    """The verb of a command, as it stands on the wire."""
    return str(envelope.command.__struct_config__.tag)


class DeadLetters:
    """The dead letters of one Redis.

    Args:
        redis: the server with the lanes.
        keys: the names of the keys.
        journal_bytes: how large a lane's journal may become; 0 for none.
    """

    def __init__(self, redis: Redis, keys: Keys, *, journal_bytes: int = JOURNAL_BYTES) -> None:
        self._redis = redis
        self._keys = keys
        self._journal_bytes = journal_bytes
        self._move: Any = redis.register_script(script_of("klaviyo_relay_worker", "redrive"))

    def all(self, lanes: Sequence[str]) -> Iterator[DeadLetter]:
        """Every dead letter of these lanes; see `pages`."""
        return chain.from_iterable(self.pages(lanes))

    def pages(self, lanes: Sequence[str]) -> Iterator[list[DeadLetter]]:
        """Every dead letter of these lanes, in no order, as much at once as memory may hold.

        A page is of one lane. What is there from the beginning to the end comes at least once
        (HSCAN's promise); while letters come in or go it may come twice.
        """
        for lane in lanes:
            yield from self._pages_of(lane)

    def _pages_of(self, lane: str) -> Iterator[list[DeadLetter]]:
        key = self._keys.lane(*split(lane)).dead
        count, cursor = PAGE_LEAST, -1
        while cursor != 0:
            answer: Any = self._redis.hscan(key, max(cursor, 0), count=count)
            cursor, found = int(answer[0]), answer[1]
            count = _next_count(count, sum(map(len, found.values())))
            if found:
                yield [stored_letter(lane, one.decode(), found[one]) for one in found]

    def find(self, lanes: Sequence[str], identity: str) -> DeadLetter | None:
        """The dead letter of a command, if it is one."""
        for lane in lanes:
            for [found] in self.read(lane, [identity]):
                return found
        return None

    def lanes_of(self, lanes: Iterable[str], identities: Sequence[str]) -> dict[str, list[str]]:
        """In which of the lanes these commands are dead letters.

        Returns:
            Lane -> ids, in the order given; an id that is nowhere dead is left out.
        """
        found: dict[str, list[str]] = {}
        left = list(dict.fromkeys(identities))
        for lane in lanes:
            flags = [flag for some in _portions(left) for flag in self._are_dead(lane, some)]
            if there := [one for one, flag in zip(left, flags, strict=True) if flag]:
                found[lane] = there
                left = [one for one, flag in zip(left, flags, strict=True) if not flag]
        return found

    def _are_dead(self, lane: str, identities: Sequence[str]) -> list[bool]:
        key = self._keys.lane(*split(lane)).dead
        with self._redis.pipeline(transaction=False) as pipeline:
            for one in identities:
                pipeline.hexists(key, one)
            return pipeline.execute()

    def read(self, lane: str, identities: Sequence[str]) -> Iterator[list[DeadLetter]]:
        """The letters of these commands in a lane, in their order; what is gone is left out.

        They come page by page, as in `pages`.
        """
        key = self._keys.lane(*split(lane)).dead
        count, start = PAGE_LEAST, 0
        while start < len(identities):
            wanted = list(identities[start : start + count])
            stored: Any = self._redis.hmget(key, wanted)
            pairs = zip(wanted, stored, strict=True)
            found = [(identity, one) for identity, one in pairs if one is not None]
            start += count
            count = _next_count(count, sum(len(one) for _, one in found))
            if found:
                yield [stored_letter(lane, *one) for one in found]

    def redrive(self, letters: Iterable[DeadLetter]) -> int:
        """Back into their lanes, as new as on the first day; returns how many went.

        Those of a lane go in their order. Some hundred go in one step of Redis, and each is at any
        time either dead or in its lane, whatever is killed in between. One that is no dead letter
        any more, since somebody else has moved it, stays as it is. Letters whose message this
        release cannot read stay, too: they would only come back.
        """
        sendable = (one for one in letters if one.sendable is not None)
        return self._move_all("redrive", sendable, lambda one: one.sendable or b"")

    def discard(self, letters: Iterable[DeadLetter]) -> int:
        """Delete them for good, by a person's decision; returns how many there were."""
        return self._move_all("discard", letters, lambda _: b"")

    def _move_all(
        self, what: str, letters: Iterable[DeadLetter], message_of: Callable[[DeadLetter], bytes]
    ) -> int:
        by_lane: dict[str, list[DeadLetter]] = {}
        for one in letters:
            by_lane.setdefault(one.lane, []).append(one)
        return sum(
            self._move_some(what, lane, pairs)
            for lane, those in by_lane.items()
            for pairs in _portions((one.id, message_of(one)) for one in those)
        )

    def _move_some(self, what: str, lane: str, pairs: Sequence[tuple[str, bytes]]) -> int:
        keys = self._keys.lane(*split(lane))
        head = [what, self._keys.doorbell, lane, self._journal_bytes]
        moved: int = self._move(
            keys=[keys.stream, keys.counts, keys.dead, keys.journal],
            args=[*head, *chain.from_iterable(pairs)],
        )
        return moved


def _portions(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    """The things in order, some hundred at a time, fewer where they are large."""
    portion: list[Thing] = []
    size = 0
    for one in things:
        portion.append(one)
        size += sum(map(len, one))
        if len(portion) == PAGE_MOST or size >= PAGE_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _next_count(count: int, size: int) -> int:
    """How many letters to ask for next, after a page of `count` had `size` bytes."""
    fitting = count * PAGE_BYTES // max(size, 1)
    return max(PAGE_LEAST, min(PAGE_MOST, count * 2, fitting))
