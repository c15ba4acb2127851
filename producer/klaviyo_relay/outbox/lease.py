"""Who relays: one of the processes that could, and another within seconds when that one dies.

The lease saves work, it guards nothing: numbers are given under a lock of the database and the
lanes ignore what they have, so two relays at once are harmless. It compares no clocks of different
machines: whoever sees the holder's beat unchanged for the whole lease time, by a clock of its own,
takes over.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from klaviyo_relay.errors import LeaseLostError
from klaviyo_relay.outbox.store import HOLDER_MAX_CHARACTERS, OutboxStore

LEASE_SECONDS = 10.0
_RENEWALS = 3


class Lease:
    """One relay's claim.

    Attributes:
        holder: this relay's name.
    """

    def __init__(self, store: OutboxStore, seconds: float = LEASE_SECONDS) -> None:
        host = socket.gethostname()[: HOLDER_MAX_CHARACTERS - 24]
        self.holder = f"{host}-{os.getpid()}-{os.urandom(4).hex()}"
        self._store = store
        self._seconds = seconds
        self._renewed_at: float | None = None
        self._seen: tuple[str | None, int] | None = None
        self._seen_at = 0.0

    def hold(self) -> bool:
        """Whether this relay is the one at work; renews or takes the lease where that is due.

        Raises:
            Whatever the database raises.
        """
        now = time.monotonic()
        if self._renewed_at is not None:
            if now - self._renewed_at < self._seconds / _RENEWALS:
                return True
            with suppress(LeaseLostError):
                self._store.renew(self.holder)
                self._renewed_at = now
                return True
            self.lose()
        return self._take(now)

    def lose(self) -> None:
        """Take note that another relay has the lease."""
        self._renewed_at = None

    def release(self) -> None:
        """Give the lease back, so that nobody has to wait for its end."""
        if self._renewed_at is not None:
            self._renewed_at = None
            self._store.release(self.holder)

    def _take(self, now: float) -> bool:
        state = self._store.state()
        if (state.holder, state.beat) != self._seen:
            self._seen, self._seen_at = (state.holder, state.beat), now
        is_free = state.holder is None or now - self._seen_at >= self._seconds
        if not is_free or not self._store.take(self.holder, state.beat):
            return False
        self._renewed_at = now
        return True
