"""The ground of an episode: Redis, a sandbox, workers and producers as real processes.

Everything runs on loopback, in one directory, and is ended by its process id.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from workload import POISONED, POISONED_BLINDLY, ROTTEN, SHARED_LISTS

from klaviyo_relay import Settings
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.status import Status

HERE = Path(__file__).parent
KEY = "pk_chaos_0123456789"
# Poison is refused all the time; faults come on top.
POISON_RULES: list[dict[str, Any]] = [
    {"action": "refuse", "match": POISONED},
    {"action": "refuse", "match": POISONED_BLINDLY, "pointer": False},
]
CALM_SETTINGS: dict[str, Any] = {
    "limits": True,
    "latency_seconds": 0.0,
    "import_delay_seconds": 0.3,
    "finish_jobs": True,
    "failing_rows": ROTTEN,
    "clock_offset_seconds": 0.0,
}
_START_AGAIN_SECONDS = 1.0


class Program:
    """A process that is kept running, as a supervisor would.

    Args:
        command: makes the command line; asked at each start.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int], list[str]],
        environment: dict[str, str],
        directory: Path,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self.log = directory / f"{name}.log"
        self.starts = 0
        self.exits: list[str] = []
        self.is_wanted = False
        self.is_paused = False
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process exists and is not stopped."""
        alive = self._process is not None and self._process.poll() is None
        return alive and not self.is_paused

    def start(self) -> None:
        """Start it, unless it runs."""
        self.is_wanted = True
        if self._process is not None and self._process.poll() is None:
            return
        self.starts += 1
        self.is_paused = False
        self._started_at = time.monotonic()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(self.starts),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=HERE.parent.parent,
            )

    def supervise(self) -> None:
        """Start it again if it ended by itself."""
        process = self._process
        if not self.is_wanted or process is None or process.poll() is None:
            return
        if time.monotonic() - self._started_at > _START_AGAIN_SECONDS:
            self.exits.append(f"{self.name} ended by itself with {process.returncode}")
            self.start()

    def kill(self) -> None:
        """SIGKILL."""
        self.is_wanted = False
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(30)

    def end(self, seconds: float = 20.0) -> None:
        """SIGTERM; SIGKILL if that takes too long."""
        self.is_wanted = False
        self.resume()
        self._signal(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.exits.append(f"{self.name} did not end within {seconds} s of SIGTERM")
                self.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self.is_paused = False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


class Ground:
    """All processes of an episode, and the switches of the sandbox.

    Attributes:
        notes: (seconds since 1970, what was done), for the oracle and for people.
    """

    def __init__(
        self, directory: Path, seed: str, *, workers: int, producers: int, sabotage: str = ""
    ) -> None:
        self.directory, self.seed = directory, seed
        self.redis_server = PrivateRedis(directory / "redis")
        self.redis_server.start()
        self.redis = connect(self.redis_server.url)
        self.settings = Settings(redis_url=self.redis_server.url, spool_dir=directory / "spool")
        self.notes: list[tuple[float, str]] = []
        self.rules: list[dict[str, Any]] = []
        self.sandbox_settings = dict(CALM_SETTINGS)
        self.clock = directory / "clock"
        self.clock.write_text("0")
        self.discarded: list[DeadLetter] = []
        self.hours = directory / "hours"
        self.hours.write_text("0")
        self._sandbox_port = 0
        self.sandbox = Program("sandbox", self._sandbox_command, self._environment(), directory)
        self._start_sandbox_first()
        self.lists = self._make_lists()
        shimmed = self._environment(shim=True) | {
            "CHAOS_CLOCK": str(self.clock),
            "CHAOS_HOURS": str(self.hours),
        }
        breaks = {"CHAOS_SABOTAGE": sabotage} if sabotage else {}
        self.workers = [
            Program(f"worker{at}", self._worker_command, shimmed | breaks, directory)
            for at in range(workers)
        ]
        plain = self._environment(shim=bool(sabotage)) | breaks
        self.producers = [
            Program(f"producer{at}", self._producer_command(at, producers), plain, directory)
            for at in range(producers)
        ]

    # The processes

    def _environment(self, *, shim: bool = False) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG")}
        paths = [str(HERE / "shim")] if shim else []
        paths += [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
        url = f"http://127.0.0.1:{self._sandbox_port}" if hasattr(self, "_sandbox_port") else ""
        return kept | {
            "PYTHONPATH": os.pathsep.join(paths),
            "KLAVIYO_RELAY_REDIS_URL": self.redis_server.url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(self.settings.spool_dir),
            "KLAVIYO_API_URL": url,
            "KLAVIYO_API_KEY": KEY,
        }

    def _sandbox_command(self, _start: int) -> list[str]:
        command = [sys.executable, "-m", "klaviyo_relay_worker.sandbox"]
        command += ["--port", str(self._sandbox_port), "--seed", "7"]
        command += ["--record", str(self.record), "--log", str(self.request_log)]
        return command

    def _worker_command(self, _start: int) -> list[str]:
        return [sys.executable, "-m", "klaviyo_relay_worker", "worker"]

    def _producer_command(self, at: int, count: int) -> Callable[[int], list[str]]:
        loads = ["load"] if at == count - 1 and count > 1 else []

        def command(start: int) -> list[str]:
            writer = f"w{at}i{start}"
            journal = self.directory / f"journal-{writer}"
            what = [str(journal), self.seed, writer, "25", json.dumps(self.lists), *loads]
            return [sys.executable, str(HERE / "driver.py"), *what]

        return command

    @property
    def record(self) -> Path:
        """What the sandbox processed."""
        return self.directory / "record"

    @property
    def request_log(self) -> Path:
        """Every request with its status."""
        return self.directory / "requests"

    @property
    def programs(self) -> list[Program]:
        """All that is supervised."""
        return [self.sandbox, *self.workers, *self.producers]

    def _start_sandbox_first(self) -> None:
        self.sandbox.start()

        def said() -> str:
            return self.sandbox.log.read_text().partition("\n")[0]

        wait_until(said, 20.0, "the sandbox does not start")
        self._sandbox_port = int(json.loads(said())["url"].rpartition(":")[2])
        self.turn_sandbox()

    def _make_lists(self) -> dict[str, str]:
        made = {}
        for name in SHARED_LISTS:
            body = {"data": {"type": "list", "attributes": {"name": name}}}
            made[name] = str(self.ask("POST", "/api/lists", body)["data"]["id"])
        return made

    def start(self) -> None:
        """Start workers and producers."""
        for program in self.programs:
            program.start()
        for worker in self.workers:
            log = worker.log
            wait_until(
                lambda log=log: " ready." in log.read_text(), 60.0, "a worker does not start"
            )

    def supervise(self) -> None:
        """Start again what ended by itself."""
        for program in self.programs:
            program.supervise()

    def note(self, what: str) -> None:
        """Remember what was done, and when."""
        self.notes.append((time.time(), what))

    # The sandbox

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the sandbox, as another integration would make it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._sandbox_port}{path}",
            None if body is None else json.dumps(body).encode(),
            {
                "Authorization": f"Klaviyo-API-Key {KEY}",
                "revision": "2026-07-15",
                "Content-Type": "application/json",
            },
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def turn_sandbox(self, **settings: Any) -> None:
        """Put settings and rules in force, now or as soon as the sandbox is there."""
        self.sandbox_settings |= settings
        if not self.sandbox.is_running:
            return
        until = time.monotonic() + 15
        while True:
            try:
                self.ask("POST", "/sandbox/settings", self.sandbox_settings)
                self.ask("POST", "/sandbox/faults", [*self.rules, *POISON_RULES])
            except OSError:  # it has only just been started
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def consume(self, endpoint: str, calls: int) -> None:
        """Another integration uses up an endpoint's limits."""
        if self.sandbox.is_running:
            with suppress(urllib.error.URLError):  # it was killed a moment ago
                self.ask("POST", "/sandbox/consume", {"endpoint": endpoint, "calls": calls})

    # What people do

    def shift_clock(self, seconds: float) -> None:
        """Let the workers' clocks go ahead by this."""
        _replace(self.clock, seconds)

    def pass_time(self, seconds: float) -> None:
        """Let the workers think, of Redis's clock too, that so much time has passed."""
        _replace(self.hours, float(self.hours.read_text()) + seconds)

    def dead(self) -> list[DeadLetter]:
        """All dead letters."""
        letters = DeadLetters(self.redis, self.settings.keys)
        return list(letters.all(Status(self.redis, self.settings.keys).lanes()))

    def redrive(self, letters: list[DeadLetter]) -> None:
        """Send dead letters again."""
        DeadLetters(self.redis, self.settings.keys).redrive(letters)

    def discard(self, letters: list[DeadLetter]) -> None:
        """Let dead letters go."""
        self.discarded += letters
        DeadLetters(self.redis, self.settings.keys).discard(letters)

    def report(self) -> dict[str, Any]:
        """As `klaviyo-relay status` has it."""
        return Status(self.redis, self.settings.keys).report()

    def lanes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The lanes of the one account, with their numbers."""
        accounts = self.report()["accounts"]
        yield from accounts.get("default", {"lanes": {}})["lanes"].items()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the console script."""
        return subprocess.run(
            [sys.executable, "-m", "klaviyo_relay_worker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self._environment(),
        )

    def pending(self) -> dict[str, int]:
        """What each lane has still to do; empty at rest."""
        left = {}
        for name, one in self.lanes():
            count = one["backlog"] + one["parked"] + one["following"]
            if count:
                left[name] = count
        return left

    def close(self) -> None:
        """End everything."""
        for program in self.programs:
            program.resume()
            program.kill()
        with suppress(RedisError):
            self.redis.close()
        self.redis_server.close()


def wait_until(is_so: Callable[[], Any], seconds: float, what: str) -> None:
    """Until `is_so` gives something true; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise AssertionError(f"{what} (waited {seconds} s)")
        time.sleep(0.05)


def _replace(path: Path, seconds: float) -> None:
    written = path.with_suffix(".new")
    written.write_text(str(seconds))
    written.replace(path)
