"""What the process models share: programs in processes of their own, and a count of what arrived."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from klaviyo_relay import Settings
from klaviyo_relay.lane_entrance import connect
from klaviyo_relay_worker.embedded import PrivateRedis

PROGRAMS = Path(__file__).with_name("programs")
SCRIPT = Path(sys.executable).with_name("klaviyo-relay")
# Every program begins with it; `say` hands an id over that a call has returned.
PRELUDE = """
import os, signal, sys, threading, time
import klaviyo_relay as klaviyo
def say(identity): os.write(1, identity.encode() + b"\\n")
def track(**more): identity = klaviyo.track("M", email="ada@lovelace.dev", **more); say(identity)
"""


def _wait_until(condition: Callable[[], Any], what: str = "", seconds: float = 20.0) -> Any:
    """What `condition` returns once it is true; raises after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {seconds} s: {what or condition}")
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return _wait_until


@pytest.fixture
def chance() -> random.Random:
    """Chance with a seed that is printed where the test fails; `SEED=…` repeats a run."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")
    return random.Random(seed)


class Tracked(NamedTuple):
    """What a driver's calls gave: ids, how long each took, and what was raised."""

    ids: list[str]
    seconds: list[float]
    errors: list[str]

    @property
    def median(self) -> float:
        return sorted(self.seconds)[len(self.seconds) // 2]


class Program:
    """A process of the application's, which prints one id for each call that returned."""

    def __init__(self, command: Sequence[object], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [*map(str, command)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def log(self) -> str:
        """What it wrote to its standard error."""
        return self._log.read_text(errors="replace")

    def ids(self, *, status: int | None = 0, seconds: float = 40.0) -> list[str]:
        """What it printed, once it has ended with this status."""
        # Not communicate(), which forgets what line() has read ahead.
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        late = threading.Timer(seconds, self.process.kill)
        late.start()
        said = self.process.stdout.read()
        self.process.wait()
        is_late = late.finished.is_set()
        late.cancel()
        late.join()
        assert not is_late, f"it did not end within {seconds} s:\n{self.log}"
        if status is not None:
            assert self.process.returncode == status, self.log
        return said.decode().split()

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        found = self.process.stdout.readline()
        assert found, f"it ended:\n{self.log}"
        return found.decode().rstrip("\n")

    def tell(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """By its process id, whatever its state."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


class Driver(Program):
    """An application that calls what it is told to: programs/driver.py."""

    def _ask(self, do: str, **arguments: Any) -> Any:
        self.tell(json.dumps({"do": do, **arguments}))
        return json.loads(self.line())

    def track(self, count: int, **arguments: Any) -> Tracked:
        return Tracked(**self._ask("track", count=count, **arguments))

    def begin(self, every_seconds: float) -> None:
        """Track from a thread, until `pause`."""
        self._ask("begin", every_seconds=every_seconds)

    def pause(self) -> Tracked:
        """What the thread has tracked."""
        return Tracked(**self._ask("pause"))

    def flush(self, timeout: float = 20.0) -> int:
        """How many commands are left in its spool."""
        return int(self._ask("flush", timeout=timeout))


class Site:
    """A Redis, a spool directory, and the processes that a test starts around them."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        self.settings = Settings(redis_url=redis_url, spool_dir=directory / "spool")
        self.directory = directory
        self.environment = {
            **os.environ,
            "KLAVIYO_RELAY_REDIS_URL": redis_url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(self.settings.spool_dir),
        }
        self._started: list[Program] = []

    def start(
        self, code: str, *arguments: object, first: str = "", **environment: str
    ) -> Program:
        """Run Python code in a process of its own; `first` comes before all imports."""
        code = f"{first}\n{PRELUDE}\n{textwrap.dedent(code)}"
        command = [sys.executable, "-c", code, *arguments]
        return self.command(command, **environment)

    def run(
        self, code: str, *arguments: object, status: int = 0, first: str = "", **environment: str
    ) -> list[str]:
        """What Python code printed; it must end with this status."""
        return self.start(code, *arguments, first=first, **environment).ids(status=status)

    def command(self, command: Sequence[object], **environment: str) -> Program:
        return self._start(Program, command, environment)

    def driver(self, **environment: str) -> Driver:
        return self._start(Driver, [sys.executable, PROGRAMS / "driver.py"], environment)

    def _start(self, kind: type[Any], command: Sequence[object], more: dict[str, str]) -> Any:
        log = self.directory / f"program{len(self._started)}.log"
        program = kind(command, {**self.environment, **more}, log)
        self._started.append(program)
        return program

    def end(self) -> None:
        for program in self._started:
            program.end()

    def ship_orphans(self) -> None:
        """`klaviyo-relay spool flush`, which must leave nothing."""
        done = subprocess.run(
            [SCRIPT, "spool", "flush"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def spool_files(self) -> list[Path]:
        return sorted(self.settings.spool_directory.glob("*.spool"))

    def arrived(self, *lanes: str) -> list[str]:
        """The ids in lanes, in their order."""
        redis: Redis = connect(self.settings.redis_url)
        found: list[str] = []
        for lane in lanes or ("events",):
            entries: Any = redis.xrange(self.settings.keys.lane("default", lane).stream)
            found += [json.loads(fields[b"e"])["id"] for _, fields in entries]
        redis.close()
        return found

    def assert_once(self, ids: Sequence[str], *lanes: str, unsaid: int = 0) -> None:
        """Each id is in the lanes, none twice, and no others.

        Args:
            ids: what calls returned.
            lanes: where they are; "events" by default.
            unsaid: so many more may be there, of calls that a kill kept from returning.
        """
        arrived = Counter(self.arrived(*lanes))
        assert len(set(ids)) == len(ids), "a call returned an id twice"
        lost = [identity for identity in ids if identity not in arrived]
        doubled = [identity for identity, count in arrived.items() if count > 1]
        unknown = set(arrived) - set(ids)
        faults = (len(lost), len(doubled), len(unknown) > unsaid)
        assert faults == (0, 0, False), (
            f"{len(lost)} of {len(ids)} lost, {len(doubled)} doubled, {len(unknown)} unknown"
        )


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """For a test with a server of its own; processes are gone at the end."""
    made: list[Site] = []

    def make(redis_url: str) -> Site:
        made.append(Site(redis_url, tmp_path))
        return made[-1]

    yield make
    for site in made:
        site.end()


@pytest.fixture
def site(redis_url: str, make_site: Callable[..., Site]) -> Site:
    return make_site(redis_url)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A server of this test's own, to be stopped, filled and robbed."""
    with PrivateRedis(directory=tmp_path / "redis") as started:
        yield started


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port outside of the range from which outgoing connections take theirs."""

    def find() -> int:
        for _ in range(1000):
            port = random.SystemRandom().randrange(20_000, 30_000)
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise AssertionError("no free port")

    return find
