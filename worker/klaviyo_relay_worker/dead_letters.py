"""Dead letters: commands that Klaviyo refused for good, kept until a person decides."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from redis import Redis

from klaviyo_relay.envelope import Received
from klaviyo_relay.keys import Keys, split
from klaviyo_relay.lane_entrance import script_of
from klaviyo_relay_worker.journal import JOURNAL_BYTES
from klaviyo_relay_worker.outcome import Failure

_SCAN_COUNT = 500


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


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


def letter(
    lane: str, envelope: Received, failure: Failure, attempts: int = 1, now: float | None = None
) -> bytes:
    """A dead letter as it is stored."""
    return _encode(
        DeadLetter(
            id=envelope.id,
            lane=lane,
            verb=verb_of(envelope),
            failure=failure,
            dead_at=time.time() if now is None else now,
            attempts=attempts,
            envelope=envelope,
        )
    )


def unreadable(lane: str, identity: str, message: bytes, detail: str) -> bytes:
    """A dead letter for a message that is no envelope."""
    failure = Failure(code="unreadable", title="Not an envelope", detail=detail)
    text = message.decode("utf-8", "backslashreplace")
    return _encode(
        DeadLetter(
            id=identity, lane=lane, verb="?", failure=failure, dead_at=time.time(), message=text
        )
    )


def invalid(lane: str, identity: str, verb: str, arguments: str, detail: str) -> bytes:
    """A dead letter for arguments of the Celery door that make no command."""
    failure = Failure(code="invalid", title="Refused by klaviyo-relay", detail=detail)
    return _encode(
        DeadLetter(
            id=identity,
            lane=lane,
            verb=verb,
            failure=failure,
            dead_at=time.time(),
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
        """Every dead letter of these lanes."""
        for lane in lanes:
            for _, stored in self._redis.hscan_iter(
                self._keys.lane(*split(lane)).dead, count=_SCAN_COUNT
            ):
                yield _decode(stored)

    def find(self, lanes: Sequence[str], identity: str) -> DeadLetter | None:
        """The dead letter of a command, if it is one."""
        for lane in lanes:
            stored: Any = self._redis.hget(self._keys.lane(*split(lane)).dead, identity)
            if stored is not None:
                return _decode(stored)
        return None

    def redrive(self, letters: Sequence[DeadLetter]) -> int:
        """Back into their lanes, as new as on the first day; returns how many went.

        Letters whose message could not be read stay: they would only come back.
        """
        return self._each_lane("redrive", [one for one in letters if one.envelope is not None])

    def discard(self, letters: Sequence[DeadLetter]) -> int:
        """Delete them for good, by a person's decision; returns how many there were."""
        return self._each_lane("discard", letters)

    def _each_lane(self, what: str, letters: Sequence[DeadLetter]) -> int:
        moved = 0
        for one in letters:
            keys = self._keys.lane(*split(one.lane))
            message = _encode(one.envelope) if what == "redrive" else b""
            moved += self._move(
                keys=[keys.stream, keys.counts, keys.dead, keys.journal],
                args=[
                    what,
                    self._keys.doorbell,
                    one.lane,
                    self._journal_bytes,
                    one.id,
                    message,
                ],
            )
        return moved
