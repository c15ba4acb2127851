"""Accounts: their keys, pauses, quotas and the list names that were learned."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from redis import Redis

from klaviyo_relay.complaints import Complaints
from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.breaker import WHOLE_ACCOUNT, Breakers
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.outcome import Snooze
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.settings import WorkerSettings, variable_of

logger = logging.getLogger("klaviyo_relay_worker.accounts")

UNAUTHENTICATED = 401
# Klaviyo takes 150 creations a day, so three months are a few thousand short keys at most.
CREATED_SECONDS = 90 * 86_400

# A full Redis refuses a plain SET.
_KEEP = """#!lua flags=allow-oom
return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
"""


class Accounts:
    """All accounts of this worker.

    Attributes:
        quota, breakers: shared by all workers.
    """

    def __init__(self, redis: Redis, keys: Keys, settings: WorkerSettings) -> None:
        self._redis = redis
        self._keys = keys
        self._settings = settings
        self._clients: dict[str, KlaviyoClient] = {}
        self._guard = threading.Lock()
        self._complaints: defaultdict[str, Complaints] = defaultdict(Complaints)
        self._set: Any = redis.register_script(script_of("klaviyo_relay_worker", "set"))
        self._keep: Any = redis.register_script(_KEEP)
        self.quota = Quota(redis, keys)
        self.breakers = Breakers(redis, keys)

    def client(self, account: str) -> KlaviyoClient | None:
        """The client of an account, or None where this worker has no key for it."""
        key = self._settings.api_keys.get(account)
        if key is None:
            text = f"account {account}: no API key for it here; set {variable_of(account)}"
            self._complain(account, text)
            return None
        with self._guard:
            if account not in self._clients:
                self._clients[account] = KlaviyoClient(
                    self._settings.api_url,
                    key,
                    self._settings.api_revision,
                    self._settings.request_seconds,
                )
            return self._clients[account]

    def close(self) -> None:
        """Close the connections to Klaviyo."""
        with self._guard:
            for client in self._clients.values():
                client.close()

    def pause(self, account: str, family: str, snooze: Snooze) -> None:
        """Klaviyo refuses the key (401), or what is asked with it (403): wait for the next probe.

        A missing scope concerns one family of endpoints: the others go on.
        """
        whole = snooze.status == UNAUTHENTICATED
        paused = WHOLE_ACCOUNT if whole else family
        self.breakers.pause(account, paused, snooze.reason, snooze.seconds)
        variable = variable_of(account)
        mend = f"check {variable}" if whole else f"check the scopes of {variable} for {family}"
        self._complain(
            f"{account}:{paused}",
            f"account {account}: Klaviyo answers {snooze.detail}; {mend}. Nothing is lost; tried"
            f" again every {snooze.seconds:.0f} s, or at klaviyo-relay resume {account}",
        )

    def lists(self, account: str) -> dict[str, str]:
        """The list names that are known, with their ids."""
        stored: Any = self._redis.hgetall(self._keys.lists(account))
        return {name.decode(): identity.decode() for name, identity in stored.items()}

    def learn_lists(self, account: str, learned: Mapping[str, str | None]) -> None:
        """Remember what a delivery learned of list names."""
        for name, identity in learned.items():
            if identity is None:
                self._redis.hdel(self._keys.lists(account), name)
            else:
                self._set(keys=[self._keys.lists(account)], args=[name, identity])

    def keep_created(self, account: str, created: Mapping[str, str]) -> None:
        """Keep the ids of lists for those who asked to create them."""
        for identity, list_id in created.items():
            key = self._keys.created(account, identity)
            self._keep(keys=[key], args=[list_id, CREATED_SECONDS])

    def _complain(self, about: str, what: str) -> None:
        """Loudly, but not more than once a minute."""
        if self._complaints[about].is_due():
            logger.error("%s", what)
