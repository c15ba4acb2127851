"""Fixtures for all tests: a real server for the lanes, a sandbox, clean environments, chance.

Nothing here needs a service that happens to run, a fixed port or the network. Hypothesis is
derandomised, so a failing example fails again; it prints the example.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis

from klaviyo_relay import Settings, Track
from klaviyo_relay.commands import Command
from klaviyo_relay.keys import Keys
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.sandbox import Sandbox
from moving_redis import MovingRedis, moving_redis
from waiting import wait_until

settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("deterministic")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A run in the background ignores Ctrl-C, and so would the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No KLAVIYO_… variable of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("KLAVIYO_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def private_redis() -> Iterator[PrivateRedis]:
    """One real server for the session."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[PrivateRedis]:
    """A real server that one test may fill, stop and kill."""
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def moving() -> Iterator[MovingRedis]:
    """A primary and a replica of a test's own, and the address of whoever is primary."""
    with moving_redis() as made:
        yield made


@pytest.fixture
def redis_url(private_redis: PrivateRedis) -> Iterator[str]:
    """The URL of an empty real server."""
    client = connect(private_redis.url)
    client.flushall()
    yield private_redis.url
    client.close()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of it."""
    client = connect(redis_url)
    yield client
    client.close()


@pytest.fixture
def keys() -> Keys:
    """The names of the keys under the default namespace."""
    return Keys()


@pytest.fixture
def relay_settings(redis_url: str, tmp_path: Path) -> Settings:
    """A producer's settings with a spool of its own."""
    return Settings(redis_url=redis_url, spool_dir=tmp_path / "spool")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A stand-in for Klaviyo without rate limits, whose import jobs end at once."""
    with Sandbox(limits=False, import_delay_seconds=0.0) as started:
        yield started


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance that is the same in each run of a test; `SEED=…` makes it another.

    The seed is among the output that pytest shows of a test that failed.
    """
    seed = os.environ.get("SEED") or str(zlib.crc32(request.node.nodeid.encode()))
    sys.stdout.write(f"SEED={seed}\n")
    return random.Random(seed)


@pytest.fixture
def tracks() -> Callable[..., list[Command]]:
    """Many events of different people."""
    return lambda number, **more: [
        Track(metric="Placed Order", email=f"p{at}@shop.io", **more) for at in range(number)
    ]


@pytest.fixture
def until() -> Callable[..., Any]:
    """See wait_until."""
    return wait_until
