"""Pseudonyms: people's identifiers as keyed hashes, so that no key or field in Redis names anybody.

The secret is made once a namespace and lives beside what it hides. A Redis that lost it has lost
everything else, too.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys

SECRET_BYTES = 32
# Two of a hundred million people share one with a probability of 1e-13.
PSEUDONYM_BYTES = 12

# A full Redis refuses a plain SET.
_MAKE = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""


class Pseudonyms:
    """Pseudonyms of one namespace. Reads the secret once, when it is first needed."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._key = keys.secret
        self._script: Any = redis.register_script(_MAKE)
        self._secret: bytes | None = None

    def of(self, *words: str) -> bytes:
        """The pseudonym of an identifier in normal form, or of several words together.

        Raises:
            redis.RedisError: Redis is away, and the secret not yet read.
        """
        if self._secret is None:
            self._secret = self._script(keys=[self._key], args=[os.urandom(SECRET_BYTES)])
        text = "\0".join(words).encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._secret, digest_size=PSEUDONYM_BYTES).digest()
