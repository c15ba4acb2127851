"""A site: a Redis, a stand-in for Klaviyo, and real workers and commands around them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from environment import environment_of
from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.status import Status
from processes import Process
from programs import SCRIPT
from waiting import wait_until

KEY = "pk_e2e_secret_0123456789"
READY = " ready."


class Site:
    """A Redis, a sandbox, and whatever processes a test starts around them."""

    def __init__(self, redis_url: str, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox, self.directory = sandbox, directory
        self.settings = Settings(redis_url=redis_url, spool_dir=directory / "spool")
        self.redis: Redis = connect(redis_url)
        self.environment = environment_of(
            KLAVIYO_RELAY_REDIS_URL=redis_url,
            KLAVIYO_RELAY_SPOOL_DIR=str(self.settings.spool_dir),
            KLAVIYO_API_URL=sandbox.url,
            KLAVIYO_API_KEY=KEY,
        )
        self._workers: list[Process] = []

    def worker(
        self, *arguments: str, command: list[str] | None = None, is_ready: bool = True, **more: str
    ) -> Process:
        """Start a worker, and wait until it is ready."""
        log = self.directory / f"worker{len(self._workers)}.log"
        command = command or [sys.executable, "-m", "klaviyo_relay_worker", "worker"]
        self._workers.append(Process([*command, *arguments], {**self.environment, **more}, log))
        if is_ready:
            self._workers[-1].says(READY)
        return self._workers[-1]

    def run(self, *arguments: str, **more: str | None) -> subprocess.CompletedProcess[str]:
        """Run the console script."""
        environment = {**self.environment, **more}
        return subprocess.run(
            [SCRIPT, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={name: value for name, value in environment.items() if value is not None},
        )

    def enqueue(self, *commands: Command, account: str = "default", bulk: bool = False) -> None:
        """Into the lanes, at once."""
        producer = Producer(self.settings)
        producer.enqueue_many(commands, account=account, bulk=bulk, timeout=30)
        producer.close()

    def report(self) -> dict[str, Any]:
        """As `klaviyo-relay status` has it."""
        return Status(self.redis, self.settings.keys).report()

    def lane(self, name: str) -> dict[str, Any]:
        """The numbers of a lane of the default account."""
        return self.report()["accounts"].get("default", {"lanes": {}})["lanes"].get(name, {})

    def dead(self) -> list[DeadLetter]:
        """All dead letters."""
        lanes = Status(self.redis, self.settings.keys).lanes()
        return list(DeadLetters(self.redis, self.settings.keys).all(lanes))

    def is_at_rest(self) -> bool:
        """Something was accepted, and nothing is left to be done."""
        lanes = [one for a in self.report()["accounts"].values() for one in a["lanes"].values()]
        return bool(lanes) and not any(
            one["backlog"] + one["parked"] + one["following"] for one in lanes
        )

    def wait_for_rest(self, seconds: float = 30.0) -> None:
        """Until all is done; nothing may be lost."""
        wait_until(self.is_at_rest, seconds, self.logs)
        assert self.report()["lost"] == 0

    def logs(self) -> str:
        """What all workers have said."""
        return "\n".join(worker.log() for worker in self._workers)

    def close(self) -> None:
        """End what still runs."""
        for worker in self._workers:
            if worker.is_running:
                worker.kill()
        self.redis.close()


@pytest.fixture
def site(redis_url: str, sandbox: Sandbox, tmp_path: Path) -> Iterator[Site]:
    """See Site."""
    made = Site(redis_url, sandbox, tmp_path)
    yield made
    made.close()


@pytest.fixture
def site_of(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Makes a site around a Redis of the test's own."""
    made: list[Site] = []

    def make(redis_url: str) -> Site:
        made.append(Site(redis_url, sandbox, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()
