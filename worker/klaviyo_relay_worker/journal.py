"""The journal of a lane: what happened to which commands, for `klaviyo-relay explain`.

One record an operation, written by the script that does it, in the same step. A record holds
digests of ids, 16 bytes each, and a note of plain facts: nothing private, and nothing that is
needed to deliver. The oldest records go when the journal has become as large as it may.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from redis import Redis

from klaviyo_relay.redis_clients import nodes_of
from klaviyo_relay_worker.plan.batch import Exchange
from klaviyo_relay_worker.settings import JOURNAL_IDS

# An id in a record of many; a command that is settled by itself takes as much room as six or so.
BYTES_AN_ID = 20
JOURNAL_BYTES = JOURNAL_IDS * BYTES_AN_ID
# No journal takes more of Redis's memory than this, whatever the settings say.
SHARE_OF_MEMORY = 0.01
_SURVEY_SECONDS = 60.0

_encode = msgspec.json.Encoder().encode


def note(exchange: Exchange | None = None, **facts: Any) -> bytes:
    """The note of a record, as JSON: Klaviyo's answer, if there was one, and further facts."""
    if exchange is not None:
        facts = {"endpoint": exchange.endpoint, "status": exchange.status, **facts}
    return _encode(facts)


class JournalRoom:
    """How large each journal may become: as the settings say, and a small share of Redis's memory.

    Args:
        redis: the server with the lanes.
        ids: how many ids a journal should hold; 0 for none.
    """

    def __init__(self, redis: Redis, ids: int) -> None:
        self._redis = redis
        self._wanted = ids * BYTES_AN_ID
        self._bytes = self._wanted
        self._surveyed_at = 0.0

    def bytes(self) -> int:
        """The most bytes of a journal, by Redis's settings of the last minute.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        now = time.monotonic()
        if self._wanted and (not self._surveyed_at or now - self._surveyed_at > _SURVEY_SECONDS):
            memories: list[Any] = [node.info("memory") for node in nodes_of(self._redis)]
            limits = [int(one.get("maxmemory", 0)) * SHARE_OF_MEMORY for one in memories]
            self._bytes = int(min([self._wanted, *(most for most in limits if most)]))
            self._surveyed_at = now
        return self._bytes
