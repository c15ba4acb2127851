"""Accounts: their keys, pauses, quotas and the list names that were learned."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.outcome import Snooze
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.settings import WorkerSettings

logger = logging.getLogger("klaviyo_relay_worker.accounts")

COMPLAIN_EVERY_SECONDS = 60.0


class Accounts:
    """All accounts of this worker.

    Attributes:
        quota: shared by all workers.
    """

    def __init__(self, redis: Redis, keys: Keys, settings: WorkerSettings) -> None:
        self._redis = redis
        self._keys = keys
        self._settings = settings
        self._clients: dict[str, KlaviyoClient] = {}
        self._guard = threading.Lock()
        self._complained_at: dict[str, float] = {}
        self.quota = Quota(redis, keys)

    def client(self, account: str) -> KlaviyoClient | None:
        """The client of an account, or None where this worker has no key for it."""
        key = self._settings.api_keys.get(account)
        if key is None:
            self._complain(account, f"no API key for the account; set {variable_of(account)}")
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

    def pause(self, account: str, snooze: Snooze) -> None:
        """Klaviyo refuses the key: no lane of the account sends until the next probe."""
        values = {"reason": snooze.reason, "until": f"{time.time() + snooze.seconds:.3f}"}
        self._redis.hset(self._keys.account(account), mapping=values)  # type: ignore[arg-type]
        self._complain(
            account,
            f"Klaviyo answers {snooze.detail} to the API key; check {variable_of(account)} and its"
            f" scopes. Nothing is lost; tried again every {snooze.seconds:.0f} s",
        )

    def paused_until(self, account: str) -> float:
        """Seconds since 1970 until which the account sends nothing; 0 if it is not paused."""
        stored: Any = self._redis.hget(self._keys.account(account), "until")
        return float(stored or 0)

    def resume(self, account: str) -> None:
        """A delivery went through, or a person says so."""
        self._redis.delete(self._keys.account(account))

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
                self._redis.hset(self._keys.lists(account), name, identity)

    def _complain(self, account: str, what: str) -> None:
        """Loudly, but not more than once a minute."""
        last = self._complained_at.get(account)
        if last is None or time.monotonic() - last >= COMPLAIN_EVERY_SECONDS:
            self._complained_at[account] = time.monotonic()
            logger.error("account %s: %s", account, what)


def variable_of(account: str) -> str:
    """The environment variable that holds an account's API key."""
    return "KLAVIYO_API_KEY" if account == "default" else f"KLAVIYO_API_KEY_{account.upper()}"
