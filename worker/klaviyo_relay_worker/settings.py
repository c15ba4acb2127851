"""The worker's settings: one frozen object, from the environment or by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.keys import DEFAULT_NAMESPACE, Keys
from klaviyo_relay.settings import (
    DEFAULT_REDIS_URL,
    PREFIX,
    integer,
    masked,
    namespace,
    number,
    redis_url,
)

DEFAULT_API_URL = "https://a.klaviyo.com"
# The revision whose OpenAPI document and SDK (klaviyo-api 24.0.0) every request is tested against.
DEFAULT_API_REVISION = "2026-07-15"
API_KEY = "KLAVIYO_API_KEY"
JOURNAL_IDS = 1_000_000
_REVISION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# A lease is renewed every second and lasts nine: a request must end before it does.
REQUEST_SECONDS_LEAST, REQUEST_SECONDS_MOST = 0.5, 7.5
# The doorbell mends most things by itself within seconds, and must have had the time to.
STALL_SECONDS_LEAST = 10.0


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """How a worker delivers.

    Attributes:
        redis_url: the Redis that holds the lanes. Defaults to redis://127.0.0.1:6379/0.
        celery_broker_url: Celery's broker. Defaults to `redis_url`.
        namespace: prefix of all keys in Redis. Defaults to "kr".
        api_keys: account -> private API key, from KLAVIYO_API_KEY (account "default") and
            KLAVIYO_API_KEY_<ACCOUNT>.
        api_url: Defaults to https://a.klaviyo.com.
        api_revision: Defaults to 2026-07-15.
        concurrency: threads of the worker, each delivering one lane. Defaults to 16.
        request_seconds: total deadline of one request to Klaviyo, at most 7.5. Defaults to 7.
        parked_seconds: for so long a command is tried again that Klaviyo fails with; then it
            becomes a dead letter. Defaults to three days.
        stall_seconds: a worker that could deliver and has not for so long ends with exit code 70.
            Defaults to 60.
        lane_max_bytes: as for producers; for the Celery door. Defaults to 1,000,000,000.
        journal_ids: of how many commands of a lane its journal tells; 0 for none. Defaults to
            1,000,000.
    """

    redis_url: str = DEFAULT_REDIS_URL
    celery_broker_url: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    api_keys: dict[str, str] = field(default_factory=dict)
    api_url: str = DEFAULT_API_URL
    api_revision: str = DEFAULT_API_REVISION
    concurrency: int = 16
    request_seconds: float = 7.0
    parked_seconds: float = 259_200.0
    stall_seconds: float = 60.0
    lane_max_bytes: int = 1_000_000_000
    journal_ids: int = JOURNAL_IDS

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> WorkerSettings:
        """Settings from KLAVIYO_… variables; an empty one counts as unset.

        Raises:
            ConfigurationError: with every fault found.
        """
        faults: list[str] = []
        values: dict[str, Any] = {}
        for name, (variable, parse) in _VARIABLES.items():
            if environ.get(variable):
                values[name] = parse(name, environ[variable], faults)
        values["api_keys"] = _api_keys(environ, faults)
        if faults:
            raise ConfigurationError(faults)
        return cls(**values)

    @property
    def keys(self) -> Keys:
        """The names of the keys in Redis."""
        return Keys(self.namespace)

    @property
    def broker_url(self) -> str:
        """Celery's broker."""
        return self.celery_broker_url or self.redis_url

    def __repr__(self) -> str:
        """The settings with passwords and API keys left out."""
        return (
            f"WorkerSettings(redis_url={masked(self.redis_url)!r}, api_url={self.api_url!r},"
            f" accounts={sorted(self.api_keys)!r})"
        )


def broker_fault(settings: WorkerSettings) -> str | None:
    """Why Celery cannot use its broker, if it cannot.

    kombu 5.7 has transports for a Redis server and for Sentinel, and none for a Redis Cluster.
    """
    if not settings.broker_url.startswith(("redis+cluster:", "rediss+cluster:")):
        return None
    whose = "names" if settings.celery_broker_url else "is unset, and KLAVIYO_RELAY_REDIS_URL names"
    return (
        f"{PREFIX}CELERY_BROKER_URL {whose} a Redis Cluster, which Celery cannot use as its broker:"
        " set it to a single Redis, Sentinels (redis+sentinel://) or RabbitMQ (amqp://);"
        " the lanes may stay in the cluster"
    )


def variable_of(account: str) -> str:
    """The environment variable that holds an account's API key."""
    return API_KEY if account == "default" else f"{API_KEY}_{account.upper()}"


def _api_keys(environ: Mapping[str, str], faults: list[str]) -> dict[str, str]:
    found = {}
    for variable, key in environ.items():
        if not key or not (variable == API_KEY or variable.startswith(f"{API_KEY}_")):
            continue
        if " " in key or not key.isascii() or not key.isprintable():
            faults.append(f"{variable} has spaces or characters that no API key has")
        found[variable[len(API_KEY) + 1 :].lower() or "default"] = key
    return found


def _api_url(name: str, text: str, faults: list[str]) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        faults.append(f"KLAVIYO_{name.upper()} must be a URL such as {DEFAULT_API_URL}")
    elif url.scheme == "http" and url.hostname not in _LOOPBACK:
        faults.append(
            f"KLAVIYO_{name.upper()} must use https: the API key would travel in the clear"
        )
    return text


def _api_revision(name: str, text: str, faults: list[str]) -> str:
    if not _REVISION.fullmatch(text):
        faults.append(f"KLAVIYO_{name.upper()} must be a date such as {DEFAULT_API_REVISION}")
    return text


def _request_seconds(name: str, text: str, faults: list[str]) -> float:
    seconds = number(name, text, faults)
    if not REQUEST_SECONDS_LEAST <= seconds <= REQUEST_SECONDS_MOST:
        span = f"{REQUEST_SECONDS_LEAST} and {REQUEST_SECONDS_MOST}"
        faults.append(f"{PREFIX}{name.upper()} must be between {span}")
    return seconds


def _stall_seconds(name: str, text: str, faults: list[str]) -> float:
    seconds = number(name, text, faults)
    if seconds < STALL_SECONDS_LEAST:
        faults.append(f"{PREFIX}{name.upper()} must be at least {STALL_SECONDS_LEAST}")
    return seconds


def _integer_or_0(name: str, text: str, faults: list[str]) -> int:
    return 0 if text == "0" else integer(name, text, faults)


def _broker_url(name: str, text: str, faults: list[str]) -> str:
    if text.startswith(("redis", "unix:")):
        return redis_url(name, text, faults)
    if not urlsplit(text).scheme:
        faults.append(f"{PREFIX}{name.upper()} must be a URL such as {DEFAULT_REDIS_URL}")
    return text


_VARIABLES: dict[str, Any] = {
    "redis_url": (f"{PREFIX}REDIS_URL", redis_url),
    "celery_broker_url": (f"{PREFIX}CELERY_BROKER_URL", _broker_url),
    "namespace": (f"{PREFIX}NAMESPACE", namespace),
    "api_url": ("KLAVIYO_API_URL", _api_url),
    "api_revision": ("KLAVIYO_API_REVISION", _api_revision),
    "concurrency": (f"{PREFIX}CONCURRENCY", integer),
    "request_seconds": (f"{PREFIX}REQUEST_SECONDS", _request_seconds),
    "parked_seconds": (f"{PREFIX}PARKED_SECONDS", number),
    "stall_seconds": (f"{PREFIX}STALL_SECONDS", _stall_seconds),
    "lane_max_bytes": (f"{PREFIX}LANE_MAX_BYTES", integer),
    "journal_ids": (f"{PREFIX}JOURNAL_IDS", _integer_or_0),
}
