"""What the tests of deploy/ share: its files, the validators' programs, and processes of our own.

A validator that is not installed skips its tests with a reason; deploy/README.md says where
each is from.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


@pytest.fixture
def deploy() -> Path:
    """The folder deploy/."""
    return DEPLOY


def wait_until(is_so: Callable[[], Any], seconds: float = 30.0, what: Any = "") -> Any:
    """What `is_so` returns as soon as that is true; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not (found := is_so()):
        if time.monotonic() > until:
            raise AssertionError(f"not so within {seconds} s {what() if callable(what) else what}")
        time.sleep(0.05)
    return found


@pytest.fixture
def until() -> Callable[..., Any]:
    """See wait_until."""
    return wait_until


def get(url: str) -> str:
    """The body of an answer on loopback."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - loopback
        text: str = answer.read().decode()
    return text


@pytest.fixture
def fetch() -> Callable[[str], str]:
    """See get."""
    return get


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a validator; its exit code is the test's business."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.fixture
def tool() -> Callable[..., Callable[..., subprocess.CompletedProcess[str]]]:
    """Makes a runner of a program; the test is skipped where it is not installed."""

    def find(name: str) -> Callable[..., subprocess.CompletedProcess[str]]:
        # Some come with the development requirements, whose programs need not be on PATH.
        path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return lambda *arguments, **more: run(path, *arguments, **more)

    return find


@pytest.fixture
def yaml() -> Callable[[Path], list[Any]]:
    """Reads all documents of a YAML file."""
    module = pytest.importorskip("yaml", reason="pyyaml is not installed")
    return lambda path: list(module.safe_load_all(path.read_text()))


class Process:
    """A process of ours and its log."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

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

    def end(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


class Stage:
    """Starts processes in a directory of the test's own, without settings of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[Process] = []
        kept = ("PATH", "HOME", "LANG")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name in kept or name.startswith(("COVERAGE", "PYTHON"))
        }

    def start(self, *command: str | Path, **environment: str) -> Process:
        """Start a program."""
        log = self.directory / f"process{len(self._processes)}.log"
        words = [str(word) for word in command]
        self._processes.append(Process(words, {**self.environment, **environment}, log))
        return self._processes[-1]

    def relay(self, *arguments: str, **environment: str) -> Process:
        """Start `klaviyo-relay`."""
        return self.start(sys.executable, "-m", "klaviyo_relay_worker", *arguments, **environment)

    def run_relay(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `klaviyo-relay` to its end."""
        environment = {**self.environment, **environment}
        return run(sys.executable, "-m", "klaviyo_relay_worker", *arguments, env=environment)

    def free_port(self) -> int:
        """A port that was free a moment ago."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def close(self) -> None:
        """End what still runs."""
        for one in reversed(self._processes):
            if one.process.poll() is None:
                one.process.terminate()
        for one in self._processes:
            try:
                one.process.wait(20)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """See Stage."""
    made = Stage(tmp_path)
    yield made
    made.close()
