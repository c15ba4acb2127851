"""Real processes for the end-to-end tests: workers and the command line, each ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.status import Status

SCRIPT = Path(sys.executable).with_name("klaviyo-relay")
KEY = "pk_e2e_secret_0123456789"
READY = " ready."


def wait_until(is_so: Callable[[], Any], seconds: float = 20.0, what: Any = "") -> Any:
    """What `is_so` returns as soon as that is true; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not (found := is_so()):
        if time.monotonic() > until:
            raise AssertionError(f"not so within {seconds} s {what() if callable(what) else what}")
        time.sleep(0.02)
    return found


@pytest.fixture
def until() -> Callable[..., Any]:
    """See wait_until."""
    return wait_until


class Worker:
    """A worker process and its log."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def says(self, text: str, seconds: float = 30.0) -> None:
        """Wait until it has said this; AssertionError if it ends before."""

        def has_said() -> bool:
            is_over = self.process.poll() is not None
            if text in self.log():
                return True
            assert not is_over, f"it ended with {self.process.returncode}:\n{self.log()}"
            return False

        wait_until(has_said, seconds, self.log)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)


class Site:
    """A Redis, a sandbox, and whatever processes a test starts around them."""

    def __init__(self, redis_url: str, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox, self.directory = sandbox, directory
        self.settings = Settings(redis_url=redis_url, spool_dir=directory / "spool")
        self.redis: Redis = connect(redis_url)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name in ("PATH", "HOME", "LANG")
            },
            **{n: v for n, v in os.environ.items() if n.startswith(("COVERAGE", "PYTHON"))},
            "KLAVIYO_RELAY_REDIS_URL": redis_url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(self.settings.spool_dir),
            "KLAVIYO_API_URL": sandbox.url,
            "KLAVIYO_API_KEY": KEY,
        }
        self._workers: list[Worker] = []

    def worker(
        self, *arguments: str, command: list[str] | None = None, is_ready: bool = True, **more: str
    ) -> Worker:
        """Start a worker, and wait until it is ready."""
        log = self.directory / f"worker{len(self._workers)}.log"
        command = command or [sys.executable, "-m", "klaviyo_relay_worker", "worker"]
        self._workers.append(Worker([*command, *arguments], {**self.environment, **more}, log))
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
            timeout=60,
            check=False,
            env={name: value for name, value in environment.items() if value is not None},
        )

    def enqueue(self, *commands: Command, bulk: bool = False) -> None:
        """Into the lanes, at once."""
        Producer(self.settings).enqueue_many(commands, bulk=bulk, timeout=10)

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
            if worker.process.poll() is None:
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


@pytest.fixture
def tracks() -> Callable[[int], list[Command]]:
    """Many events of different people."""
    from klaviyo_relay import Track

    return lambda number: [
        Track(metric="Placed Order", email=f"p{at}@shop.io") for at in range(number)
    ]


@pytest.fixture
def dead_ids(site: Site, sandbox: Sandbox) -> list[str]:
    """Two dead letters; the worker that made them has ended."""
    from klaviyo_relay import Track

    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    worker = site.worker()
    site.enqueue(*(Track(metric="M", email=f"poison{n}@shop.io") for n in range(2)))
    site.wait_for_rest()
    assert worker.end() == 0
    return sorted(letter.id for letter in site.dead())
