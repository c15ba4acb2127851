"""The listener that counts for Prometheus: what this process has done since it began.

The numbers of several workers add up. What stands in Redis, the same for all workers, is read at
each scrape by `klaviyo_relay_worker.gauges`.
"""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter, Histogram

from klaviyo_relay_worker.telemetry.event import (
    DEAD,
    DELIVERED,
    DROPPED,
    OTHER,
    PARKED,
    DeliveryAttempted,
    Event,
    Settled,
)

NAMESPACE = "klaviyo_relay"
# Of accounts and of Klaviyo's codes no more become label values of their own.
ACCOUNTS_MOST, CODES_MOST = 1_000, 50
# In seconds; a request's deadline is 7.5 at most.
_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5)
_NO_ANSWER = "none"


class Bound:
    """Lets so many different values through; those that come later are all `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()
        self._guard = threading.Lock()

    def __call__(self, value: str) -> str:
        """The value, or `other`."""
        with self._guard:
            if value in self._known:
                return value
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


class Counters:
    """Counts events in a registry of prometheus_client. No label names a person or a command."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._account = Bound(ACCOUNTS_MOST)
        self._code = Bound(CODES_MOST)
        self._registry = registry
        by_lane = ("account", "lane")
        self._delivered = self._counter("delivered", "Commands that Klaviyo accepted.", by_lane)
        causes = {
            PARKED: ("parkings", "Commands set aside until a time, each time.", "reason"),
            DEAD: ("dead", "Commands that became dead letters, by Klaviyo's code.", "code"),
            DROPPED: ("dropped", "Commands that a rule of ours forbade to send.", "rule"),
        }
        self._by_cause = {
            outcome: self._counter(name, text, (*by_lane, label))
            for outcome, (name, text, label) in causes.items()
        }
        self._requests = self._counter(
            "requests",
            "Requests to Klaviyo: answered, or why the lane had to wait after it.",
            ("account", "endpoint", "outcome"),
        )
        self._seconds = Histogram(
            "request_seconds",
            "Time from sending a request to the end of its answer.",
            ("endpoint", "status_class"),
            namespace=NAMESPACE,
            buckets=_BUCKETS,
            registry=registry,
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, namespace=NAMESPACE, registry=self._registry)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, DeliveryAttempted):
            self._count_attempt(event)
        else:
            self._count_settled(event)

    def _count_attempt(self, event: DeliveryAttempted) -> None:
        account = self._account(event.account)
        self._requests.labels(account, event.endpoint, event.outcome).inc()
        self._seconds.labels(event.endpoint, status_class(event.status)).observe(event.seconds)

    def _count_settled(self, event: Settled) -> None:
        account = self._account(event.account)
        if event.outcome == DELIVERED:
            self._delivered.labels(account, event.lane).inc(event.commands)
        elif event.outcome in self._by_cause:
            cause = self._code(event.cause) if event.outcome == DEAD else event.cause
            counter = self._by_cause[event.outcome]
            counter.labels(account, event.lane, cause).inc(event.commands)


def status_class(status: int) -> str:
    """2xx, 4xx, …; or none, where there was no answer."""
    return f"{status // 100}xx" if status else _NO_ANSWER
