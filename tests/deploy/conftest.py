"""What the tests of deploy/ share: its files, the validators' programs, and processes of our own.

A validator that is not installed skips its tests with a reason; deploy/README.md says where
each is from.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load_all

from environment import environment_of
from processes import Process
from programs import needs
from scrapes import page_at
from tree import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


@pytest.fixture
def deploy() -> Path:
    """The folder deploy/."""
    return DEPLOY


@pytest.fixture
def fetch() -> Callable[[str], str]:
    """See page_at."""
    return page_at


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a validator; its exit code is the test's business."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.fixture
def tool() -> Callable[..., Callable[..., subprocess.CompletedProcess[str]]]:
    """Makes a runner of a program; the test is skipped where it is not installed."""

    def find(name: str) -> Callable[..., subprocess.CompletedProcess[str]]:
        path = needs(name)
        return lambda *arguments, **more: run(path, *arguments, **more)

    return find


@pytest.fixture
def yaml() -> Callable[[Path], list[Any]]:
    """Reads all documents of a YAML file."""
    return lambda path: list(safe_load_all(path.read_text()))


class Stage:
    """Starts processes in a directory of the test's own, without settings of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[Process] = []
        self.environment = environment_of()

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

    def close(self) -> None:
        """End what still runs."""
        for one in reversed(self._processes):
            one.send(signal.SIGTERM)
        for one in self._processes:
            one.clear()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """See Stage."""
    made = Stage(tmp_path)
    yield made
    made.close()
