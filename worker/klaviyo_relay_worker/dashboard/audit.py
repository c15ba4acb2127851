"""The audit: who did what on the dashboard, in the log and in Redis.

The stream holds the latest entries; the log, which is the operator's to keep, holds all of them.
Nothing private is in either: a command is known by its id.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys

KEPT_MOST = 500
logger = logging.getLogger("klaviyo_relay_worker.dashboard")

# A full Redis refuses a plain XADD.
_ADD = """#!lua flags=allow-oom
return redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*',
  'who', ARGV[2], 'what', ARGV[3], 'target', ARGV[4], 'count', ARGV[5], 'note', ARGV[6])
"""


class Act(Struct, frozen=True, kw_only=True):
    """One thing that somebody did.

    Attributes:
        who: remote address.
        what: redrive, discard, reveal, pause, resume, ...
        target: a lane, an account, a group of dead letters, or a command by its id.
        count: how many commands it changed or showed.
        note: what else is to be said.
    """

    who: str
    what: str
    target: str
    count: int = 0
    note: str = ""


class Entry(Struct, frozen=True):
    """An act as it was written down.

    Attributes:
        id: of the entry.
        at: when.
        act: what.
    """

    id: str
    at: datetime
    act: Act


class Audit:
    """The audit of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.audit
        self._add: Any = redis.register_script(_ADD)

    def note(self, act: Act) -> str:
        """Write an act down, in the log first; returns the entry's id.

        Raises:
            redis.RedisError: Redis is away; the log has it.
        """
        log(act)
        fields = [act.who, act.what, act.target, act.count, act.note]
        entry: bytes = self._add(keys=[self._key], args=[KEPT_MOST, *fields])
        return entry.decode()

    def latest(self, count: int) -> list[Entry]:
        """The latest entries, newest first."""
        found: Any = self._redis.xrevrange(self._key, count=count)
        return [_entry(identity, fields) for identity, fields in found]

    def find(self, identity: str) -> Entry | None:
        """An entry by its id."""
        found: Any = self._redis.xrange(self._key, min=identity, max=identity)
        return _entry(*found[0]) if found else None


def log(act: Act) -> None:
    """One line for people, with a stable key for machines beside it."""
    logger.info(
        "dashboard.action %s %s by %s count=%d %s",
        act.what,
        act.target,
        act.who,
        act.count,
        act.note,
        extra={"action": "dashboard.action"},
    )


def _entry(identity: bytes, fields: dict[bytes, bytes]) -> Entry:
    text = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}
    milliseconds = int(identity.partition(b"-")[0])
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    # Not strict: Redis keeps the count as text.
    return Entry(identity.decode(), at, msgspec.convert(text, Act, strict=False))
