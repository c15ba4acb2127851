"""What the producer's tests share: a look into lanes, real processes."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

import environment
from klaviyo_relay import Producer, Settings, orphans, shipment
from klaviyo_relay.envelope import Envelope, decode
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.spool import OwnSpool, SpoolFile, spool_paths
from klaviyo_relay_worker.embedded import PrivateRedis
from spool_files import DIGEST


class Entry(NamedTuple):
    """One entry of a lane: where it came from (`source:number`) and its raw message."""

    origin: str
    message: bytes

    @property
    def envelope(self) -> Envelope:
        return decode(self.message)


class Lanes:
    """A look into the lanes of one Redis."""

    def __init__(self, redis: Redis, keys: Keys | None = None) -> None:
        self._redis = redis
        self._keys = keys or Keys()

    def entries(self, lane: str = "events", account: str = "default") -> list[Entry]:
        """What a lane holds, in its order."""
        found = self._redis.xrange(self._keys.lane(account, lane).stream)
        return [Entry(fields[b"o"].decode(), fields[b"e"]) for _, fields in found]

    def ids(self, lane: str = "events", account: str = "default") -> list[str]:
        """The ids of a lane's commands, in its order."""
        return [entry.envelope.id for entry in self.entries(lane, account)]

    def length(self, lane: str = "events", account: str = "default") -> int:
        return self._redis.xlen(self._keys.lane(account, lane).stream)

    def counts(self, lane: str = "events", account: str = "default") -> dict[str, int]:
        found = self._redis.hgetall(self._keys.lane(account, lane).counts)
        return {name.decode(): int(number) for name, number in found.items()}


@pytest.fixture
def lanes(redis: Redis) -> Lanes:
    return Lanes(redis)


@pytest.fixture
def lanes_of() -> type[Lanes]:
    """For a test with a server of its own."""
    return Lanes


@pytest.fixture
def producer(relay_settings: Settings) -> Iterator[Producer]:
    made = Producer(relay_settings)
    yield made
    made.close(timeout=0.0)


def _line_of(process: subprocess.Popen[str], seconds: float = 20.0) -> str:
    """The next line that a program prints; raises when none comes in time."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise AssertionError(f"the program said nothing for {seconds} s")
    return process.stdout.readline()


@pytest.fixture(scope="session")
def line_of() -> Callable[..., str]:
    return _line_of


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No coverage in the processes that the test starts, because it would hang them."""
    for name in set(os.environ) - set(environment.unmeasured()):
        monkeypatch.delenv(name)


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code in a process of its own, which is gone at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _in_forked_child(work: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `work` returns (as JSON) in a forked child, which ends by os._exit whatever happens."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.write(write, json.dumps(work()).encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of pytest may run on in the child
            traceback.print_exc()
            os._exit(1)
    os.close(write)
    said = b""
    try:
        deadline = time.monotonic() + seconds
        while select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(read, 65_536)
            if not piece:
                break
            said += piece
        else:
            os.kill(pid, 9)
            raise AssertionError(f"the forked child hung for {seconds} s")
    finally:
        os.close(read)
        _, status = os.waitpid(pid, 0)
    assert status == 0, "the forked child failed; see its traceback in the output"
    return json.loads(said)


@pytest.fixture(scope="session")
def in_forked_child() -> Callable[..., Any]:
    return _in_forked_child


@pytest.fixture
def away(tmp_path: Path) -> Settings:
    """Settings for a Redis that is not there: what is stored stays in the spool."""
    with PrivateRedis() as server:
        url = server.url
    return Settings(redis_url=url, spool_dir=tmp_path / "spool", exit_seconds=0.0)


def _stored(settings: Settings) -> list[tuple[str, Envelope[Any]]]:
    found = []
    for path in spool_paths(settings.spool_directory, settings.digest):
        spool = SpoolFile(path)
        found += [(lane, decode(message)) for _, lane, message in spool.read(0, 1_000_000)]
        spool.close()
    return found


@pytest.fixture(scope="session")
def stored() -> Callable[[Settings], list[tuple[str, Envelope[Any]]]]:
    """Lane and envelope of all rows in all spool files, file by file."""
    return _stored


@pytest.fixture(scope="session")
def stored_ids() -> Callable[[Settings], list[str]]:
    """The ids of the same."""
    return lambda settings: [envelope.id for _, envelope in _stored(settings)]


@pytest.fixture
def entrance(redis: Redis) -> LaneEntrance:
    return LaneEntrance(redis, Keys(), 10**9)


class Clock:
    """A clock of the shipper's that the test turns."""

    def __init__(self) -> None:
        # Marks are dated by Redis; ours begins where that one is.
        self.seconds = time.time()

    def monotonic(self) -> float:
        return self.seconds

    def milliseconds(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (shipment, orphans):
        monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(orphans, "milliseconds", made.milliseconds)
    monkeypatch.setattr(LaneEntrance, "now", lambda _: made.seconds)
    return made


class Unwritable(logging.Handler):
    """A log whose disk is full."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("No space left on device")


@pytest.fixture
def unwritable_log() -> Iterator[None]:
    logger, handler = logging.getLogger("klaviyo_relay"), Unwritable()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """For spool files; it is not there yet."""
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> Iterator[OwnSpool]:
    """A file of this process."""
    made = OwnSpool.create(directory, DIGEST)
    yield made
    made.close()
