"""What the process models share: programs in processes of their own, and a count of arrivals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis
from redis.exceptions import RedisError

from environment import unmeasured
from forwarders import Forwarder
from klaviyo_relay import Settings
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from ports import HOST, free_port
from programs import SCRIPT
from redis_nodes import RedisNode
from waiting import wait_until

PROGRAMS = Path(__file__).with_name("programs")
# Every program begins with it; `say` hands an id over that a call has returned.
PRELUDE = """
import os, signal, sys, threading, time
import klaviyo_relay as klaviyo
def say(identity): os.write(1, identity.encode() + b"\\n")
def track(**more): identity = klaviyo.track("M", email="ada@lovelace.dev", **more); say(identity)
"""


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
                start_new_session=True,
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
        with self._killed_after(seconds):
            said = self.process.stdout.read()
            self.process.wait()
        if status is not None:
            assert self.process.returncode == status, self.log
        return said.decode().split()

    def line(self, seconds: float = 30.0) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        with self._killed_after(seconds):
            found = self.process.stdout.readline()
        assert found, f"it ended:\n{self.log}"
        return found.decode().rstrip("\n")

    @contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        late = threading.Timer(seconds, self._kill)
        late.start()
        try:
            yield
            is_late = late.finished.is_set()
        finally:
            late.cancel()
            late.join()
        assert not is_late, f"nothing came within {seconds} s:\n{self.log}"

    def _kill(self) -> None:
        """It and its children, which are in a session of their own."""
        os.killpg(self.process.pid, signal.SIGKILL)

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
            self._kill()
        self.process.wait(60)
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
            # Signals and forks are what these tests are about.
            **unmeasured(),
            "KLAVIYO_RELAY_REDIS_URL": redis_url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(self.settings.spool_dir),
        }
        self._started: list[Program] = []

    def start(self, code: str, *arguments: object, first: str = "", **environment: str) -> Program:
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
        found: list[str] = []
        with connect(self.settings.redis_url) as redis:
            for lane in lanes or ("events",):
                entries: Any = redis.xrange(self.settings.keys.lane("default", lane).stream)
                found += [json.loads(fields[b"e"])["id"] for _, fields in entries]
        return found

    def has_arrived(self, number: int, *lanes: str) -> bool:
        """Whether so many are in the lanes; not while nobody answers or the connection is cut."""
        with suppress(RedisError):
            return len(self.arrived(*lanes)) >= number
        return False

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


class Server(RedisNode):
    """A server without a password: a replica, a slow start, a log that is put back."""

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def client(self) -> Redis:
        """A new client, with short time limits."""
        return connect(self.url, answer_seconds=3.0)

    def begin(self, *directives: str, is_ready: bool = True) -> None:
        """Start it with its durable configuration, and more."""
        self.configure(
            'save ""', "appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction",
            "repl-diskless-sync-delay 0", "repl-timeout 5", f"replica-announce-ip {HOST}",
            *directives,
        )  # fmt: skip
        self.start()
        if is_ready:
            self.await_ready()

    def _says(self) -> dict[str, Any]:
        assert self.is_running, self.log()
        client = self.client
        try:
            return client.info("persistence")
        except (OSError, RedisError):
            return {}
        finally:
            client.close()

    def await_ready(self) -> None:
        wait_until(lambda: self._says().get("loading") == 0, what="the server answers")

    def await_loading(self) -> None:
        wait_until(lambda: self._says().get("loading") == 1, what="the server loads")

    def is_rewritten(self) -> bool:
        says = self._says()
        return (
            says["aof_rewrite_in_progress"] == says["aof_rewrite_scheduled"] == 0
            and (self.directory / "appendonlydir" / "appendonly.aof.2.base.rdb").exists()
        )

    def count(self, lane: str = "events") -> int:
        client = self.client
        found: Any = client.xlen(f"kr:{{default:{lane}}}:stream")
        client.close()
        return int(found)


class Servers:
    """The servers of one test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Server] = []

    def start(self, *directives: str) -> Server:
        server = Server(self._directory / f"server{len(self._made)}")
        self._made.append(server)
        server.begin(*directives)
        return server

    def end(self) -> None:
        for server in self._made:
            server.kill()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    yield made
    made.end()


@pytest.fixture
def forwarder() -> Iterator[Callable[[int], Forwarder]]:
    made: list[Forwarder] = []

    def make(target: int) -> Forwarder:
        made.append(Forwarder(target, free_port()))
        return made[-1]

    yield make
    for one in made:
        one.close()
