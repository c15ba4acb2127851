"""The gauges: what stands in Redis and on this machine's disk, for Prometheus.

A collector of prometheus_client: it reads when it is asked, at most once a second, whoever asks. A
Redis that is away gives `klaviyo_relay_redis_up 0` and none of the numbers that would be old.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.breaker import Breakers, family_of
from klaviyo_relay_worker.occupancy import fullest
from klaviyo_relay_worker.quota_use import QuotaUse
from klaviyo_relay_worker.status import Status, spool_report
from klaviyo_relay_worker.telemetry.counters import ACCOUNTS_MOST, NAMESPACE

logger = logging.getLogger("klaviyo_relay_worker.gauges")

READ_EVERY_SECONDS = 1.0
# While Redis looks at ids it does nothing else, and every worker may be scraped: a tenth of what
# `klaviyo-relay status` looks at, and all of a lane that is nearly empty.
IDS_MOST = 500
# The breaker of a whole account, as its `family`.
WHOLE_ACCOUNT_FAMILY = "account"
BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}

_BY_LANE = ("account", "lane")
# Name of the gauge -> number of Status, and its meaning.
_LANE_GAUGES = {
    "backlog": ("backlog", "Commands that wait in the lane."),
    "oldest_seconds": ("oldest_seconds", "Age of the oldest command in the backlog."),
    "parked": ("parked", "Commands set aside until a time."),
    "following": ("following", "Rows of Klaviyo's import jobs that have not ended."),
    "dead_letters": ("dead", "Commands that Klaviyo refused and nobody redrove or discarded yet."),
    "paused": ("paused", "1 if the lane is paused, by a person or because a key is refused."),
}
_LANE_COUNTERS = {
    "lane_accepted": ("accepted", "Commands that ever entered the lane."),
    "lane_delivered": ("delivered", "Commands that Klaviyo accepted, by all workers ever."),
    "lane_dropped": ("dropped", "Commands that a rule forbade to send, by all workers ever."),
    "lane_discarded": ("discarded", "Dead letters that a person deleted."),
}


class Reading(Struct, frozen=True):
    """All of Redis at about one moment.

    Attributes:
        report: as `Status.report` gives it.
        breakers: (account, family) -> state, as in BREAKER_STATES.
        quotas: (account, endpoint) -> share of the minute's limit.
        memory_used, memory_most: bytes, of the fullest server; the latter is 0 without a limit.
    """

    report: dict[str, Any]
    breakers: dict[tuple[str, str], int]
    quotas: dict[tuple[str, str], float]
    memory_used: int
    memory_most: int


class Gauges:
    """The collector.

    Args:
        redis: a client for it alone, that waits for no answer longer than a scrape may take.
        settings: say where the spool of this machine is.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._status = Status(redis, settings.keys, ids_most=IDS_MOST)
        self._breakers = Breakers(redis, settings.keys)
        self._quota_use = QuotaUse(redis, settings.keys)
        self._entrance = LaneEntrance(redis, settings.keys, settings.lane_max_bytes)
        self._guard = threading.Lock()
        self._read_at: float | None = None
        self._families: list[Metric] = []

    def describe(self) -> list[Metric]:
        """Nothing: registering this collector must not need a Redis."""
        return []

    def collect(self) -> list[Metric]:
        """All families; what was read within the last second is given again."""
        with self._guard:
            now = time.monotonic()
            if self._read_at is None or now - self._read_at >= READ_EVERY_SECONDS:
                self._families = [_build_info(), *self._of_redis(), *self._of_spool()]
                self._read_at = time.monotonic()
            return self._families

    def _of_redis(self) -> Iterator[Metric]:
        try:
            reading = self._read()
        except RedisError as error:
            logger.warning("the metrics cannot be read from Redis: %s", error)
            yield _gauge("redis_up", "1 if Redis answers.", 0)
            return
        yield _gauge("redis_up", "1 if Redis answers.", 1)
        yield from families_of(reading)

    def _read(self) -> Reading:
        report = self._status.report()
        accounts = report["accounts"]
        _, memory = fullest(self._redis)
        return Reading(
            report=report,
            breakers=self._breaker_states(accounts),
            quotas=self._quota_use.shares(_shown(accounts)),
            memory_used=memory.used,
            memory_most=memory.most,
        )

    def _breaker_states(self, accounts: dict[str, Any]) -> dict[tuple[str, str], int]:
        found = {}
        for account in _shown(accounts):
            for family in sorted({family_of(lane) for lane in accounts[account]["lanes"]}):
                whole, own = self._breakers.look(account, family)
                found[account, WHOLE_ACCOUNT_FAMILY] = BREAKER_STATES[whole.word]
                found[account, family] = BREAKER_STATES[own.word]
        return found

    def _of_spool(self) -> Iterator[Metric]:
        try:
            numbers = self._spool()
        except OSError as error:
            logger.warning("the metrics cannot be read from the spool: %s", error)
            return
        text = "Commands in this machine's spool that Redis has not got."
        yield _gauge("spool_pending", text, numbers["pending"])
        text = "Spool files of this machine with such commands, whose process is dead."
        yield _gauge("spool_orphans", text, numbers["orphans"])

    def _spool(self) -> dict[str, int]:
        """Without Redis, what was shipped within the last seconds counts as well."""
        try:
            return spool_report(self._settings, self._entrance)
        except RedisError:
            return spool_report(self._settings, None)


def families_of(reading: Reading) -> Iterator[Metric]:
    """What a reading says."""
    yield from _of_lanes(reading.report)
    text = "Circuit breaker: 0 closed, 1 half-open, 2 open."
    family = GaugeMetricFamily(_full("breaker_state"), text, labels=("account", "family"))
    yield _filled(family, reading.breakers.items())
    text = "Share of Klaviyo's limit a minute that we used in the last one."
    family = GaugeMetricFamily(_full("quota_used_ratio"), text, labels=("account", "endpoint"))
    yield _filled(family, reading.quotas.items())
    yield from _of_the_whole(reading)


def _of_lanes(report: dict[str, Any]) -> Iterator[Metric]:
    lanes = [
        ((account, lane), numbers)
        for account in _shown(report["accounts"])
        for lane, numbers in report["accounts"][account]["lanes"].items()
    ]
    kinds: tuple[tuple[Any, dict[str, tuple[str, str]]], ...] = (
        (GaugeMetricFamily, _LANE_GAUGES),
        (CounterMetricFamily, _LANE_COUNTERS),
    )
    for kind, families in kinds:
        for name, (number, text) in families.items():
            values = [(labels, numbers[number]) for labels, numbers in lanes]
            yield _filled(kind(_full(name), text, labels=_BY_LANE), values)


def _of_the_whole(reading: Reading) -> Iterator[Metric]:
    report = reading.report
    left_out = max(0, len(report["accounts"]) - ACCOUNTS_MOST)
    for name, text, value in (
        ("lost", "Commands that the equation leaves over; must be 0.", report["lost"]),
        (
            "surplus",
            "Commands that are there without having been accepted; must be 0.",
            report["surplus"],
        ),
        ("accounts_left_out", "Accounts beyond the most that have series of their own.", left_out),
        (
            "redis_memory_used_bytes",
            "Memory that Redis uses, for everything.",
            reading.memory_used,
        ),
        ("redis_memory_max_bytes", "Redis's maxmemory; 0 without a limit.", reading.memory_most),
    ):
        yield _gauge(name, text, value)


def _shown(accounts: Iterable[str]) -> list[str]:
    return sorted(accounts)[:ACCOUNTS_MOST]


def _full(name: str) -> str:
    return f"{NAMESPACE}_{name}"


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_full(name), text, value=value)


def _filled(family: Any, values: Iterable[tuple[tuple[str, str], float]]) -> Metric:
    for labels, value in values:
        family.add_metric(labels, value)
    found: Metric = family
    return found


def _build_info() -> Metric:
    values = {"version": version("klaviyo-relay"), "python": platform.python_version()}
    return InfoMetricFamily(_full("build"), "What runs here.", value=values)
