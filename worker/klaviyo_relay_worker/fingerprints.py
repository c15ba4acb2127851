"""Fingerprints: whether the commands that a lane stores are those that it has accepted.

    accepted_ids - settled_ids = sum of the fingerprints of all stored ids        (modulo 2^52)

A fingerprint is the first 52 bits of an id's SHA-1. The lane's scripts keep both sums on the left
in its counts; the one on the right is taken from what is stored. A command that is settled twice
while another one vanishes leaves every count right, and this sum wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from typing import Any

from redis import Redis

from klaviyo_relay.keys import LaneKeys
from klaviyo_relay.scripts import script_of

FINGERPRINTS = 2**52
DIGEST_DIGITS = 16
_DIGITS = 13
_PAGE = 1000
_ATTEMPTS = 3


def digest_of(identity: bytes) -> str:
    """What stands for an id in the journal and for the rows of an import job: 16 hex digits."""
    return sha1(identity, usedforsecurity=False).hexdigest()[:DIGEST_DIGITS]


def fingerprint_of(digest: str) -> int:
    """52 bits of a digest."""
    return int(digest[:_DIGITS], 16)


def expected(counts: dict[str, int]) -> int:
    """The sum that the stored ids of a lane must have, by its counts."""
    return (counts.get("accepted_ids", 0) - counts.get("settled_ids", 0)) % FINGERPRINTS


class Auditor:
    """Takes the sum over lanes of any size, page by page."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._page: Any = redis.register_script(script_of("klaviyo_relay_worker", "audit"))

    def differs(self, keys: LaneKeys) -> bool | None:
        """Whether a lane stores other commands than it must; None if it changes all the while."""
        for _ in range(_ATTEMPTS):
            before: Any = self._redis.hgetall(keys.counts)
            stored = self._sum_of_all(keys)
            if before == self._redis.hgetall(keys.counts):
                counts = {name.decode(): int(value) for name, value in before.items()}
                return stored != expected(counts)
        return None

    def _sum_of_all(self, keys: LaneKeys) -> int:
        names = [*self._names(keys.parked), *self._names(keys.dead)]
        digests = [digest_of(name) for name in names] + self._rows(keys)
        return (self._sum_of_stream(keys.stream) + _sum(digests)) % FINGERPRINTS

    def _sum_of_stream(self, stream: str) -> int:
        after, total = "0-0", 0
        while after:
            last, _, part = self._page(keys=[stream], args=["stream", after, _PAGE])
            total, after = total + int(part), last.decode()
        return total

    def _names(self, key: str) -> set[bytes]:
        """The fields of a hash; a scan may give one twice."""
        found: set[bytes] = set()
        cursor: Any = b"0"
        while True:
            cursor, names = self._page(keys=[key], args=["hash", cursor, _PAGE])
            found.update(names)
            if cursor == b"0":
                return found

    def _rows(self, keys: LaneKeys) -> list[str]:
        found: list[str] = []
        jobs: Any = self._redis.hgetall(keys.rows)
        for job, digests in jobs.items():
            if self._redis.hexists(keys.following, job):
                found += split_digests(digests.decode())
        return found


def split_digests(digests: str) -> list[str]:
    """Digests that stand one after the other."""
    return [digests[at : at + DIGEST_DIGITS] for at in range(0, len(digests), DIGEST_DIGITS)]


def _sum(digests: Iterable[str]) -> int:
    return sum(fingerprint_of(digest) for digest in digests)
