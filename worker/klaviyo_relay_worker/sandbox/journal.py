"""The log of requests and the counts by endpoint and outcome."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any, NamedTuple

KEPT = 10_000


class Entry(NamedTuple):
    """One request to the API."""

    monotonic: float
    """When it was received, in seconds of `time.monotonic()`."""
    received: float
    """The same in epoch seconds of the machine's clock."""
    method: str
    endpoint: str
    status: str
    """The HTTP status, or `reset`, `lose_answer` or `hang`."""
    items: int
    body_bytes: int
    by_rule: bool = False
    """A fault rule made the answer what it is."""
    detail: str = ""
    """Of a refusal: the first thing that is wrong, and where."""


class Journal:
    """Counts every request and keeps the last 10,000. The store's lock guards it."""

    def __init__(self) -> None:
        """Start empty."""
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.total = 0
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._counts: dict[str, Counter[str]] = {}

    def add(self, entry: Entry) -> None:
        """Take note of a request."""
        self.total += 1
        self._entries.append(entry)
        self._counts.setdefault(entry.endpoint, Counter())[entry.status] += 1

    def entries(self) -> list[dict[str, Any]]:
        """The kept requests, oldest first."""
        return [entry._asdict() for entry in self._entries]

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests by endpoint and status."""
        return {endpoint: dict(counts) for endpoint, counts in self._counts.items()}

    def with_status(self, status: str) -> int:
        """How many requests ended so."""
        return sum(counts[status] for counts in self._counts.values())


def arrival() -> tuple[float, float]:
    """The present instant by both clocks, as an entry has it."""
    return time.monotonic(), time.time()
