"""Shares: how much of a worker one account may take, so that another one's outage is not its own.

An account may take one place more as long as it holds fewer than are free: alone at most half, and
of several greedy ones each as much as is left over for the next (dynamic thresholds: Choudhury and
Hahn, IEEE/ACM Transactions on Networking 6, 1998). Whoever holds none is never turned away. A
worker with one account has nobody to protect: there the share is everything.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Given = TypeVar("Given")


class Shares:
    """Places that accounts share. Any thread may ask.

    Args:
        places: how many there are; None: an account may have them all.
    """

    def __init__(self, places: int | None) -> None:
        self._places = places
        self._held: Counter[str] = Counter()
        self._guard = threading.Lock()

    def resize(self, places: int) -> None:
        """There are as many as this, unless an account may have them all."""
        if self._places is not None:
            self._places = places

    def is_full(self, account: str) -> bool:
        """Whether the account holds all that it may at the moment."""
        with self._guard:
            return self._is_full(account)

    def take(self, account: str) -> bool:
        """A place, if the account may have one more."""
        with self._guard:
            if self._is_full(account):
                return False
            self._held[account] += 1
            return True

    def hold(self, account: str) -> None:
        """A place in any case: it was asked before whether there is one."""
        with self._guard:
            self._held[account] += 1

    def give_back(self, account: str) -> None:
        """A place less."""
        with self._guard:
            self._held[account] -= 1
            if not self._held[account]:
                del self._held[account]

    def _is_full(self, account: str) -> bool:
        held = self._held.get(account, 0)
        return self._places is not None and 0 < held >= self._places - self._held.total()


class Senders:
    """The threads that hold conversations with Klaviyo, shared by the accounts.

    Args:
        threads: how many.
        shares: of them.
    """

    def __init__(self, threads: int, shares: Shares) -> None:
        self._executor = ThreadPoolExecutor(threads, "klaviyo-relay-send")
        self._shares = shares

    def is_full(self, account: str) -> bool:
        """Whether the account has as many under way as it may have."""
        return self._shares.is_full(account)

    def submit(
        self, account: str, deliver: Callable[[Given], Result], batch: Given
    ) -> Future[Result]:
        """Hold a conversation, whether or not the account's share is full."""
        self._shares.hold(account)
        try:
            return self._executor.submit(self._run, account, deliver, batch)
        except RuntimeError:
            self._shares.give_back(account)
            raise

    def shutdown(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._executor.shutdown()

    def _run(self, account: str, deliver: Callable[[Given], Result], batch: Given) -> Result:
        try:
            return deliver(batch)
        finally:
            self._shares.give_back(account)
