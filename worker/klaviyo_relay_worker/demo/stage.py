"""The stage: the processes of the demonstration, each a real one, all ended with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from klaviyo_relay_worker.errors import WorkerError

START_SECONDS = 30.0
DRAIN_SECONDS = 20.0


class StageError(WorkerError):
    """A process of the demonstration did not start or did not stay."""


class Sandboxed:
    """The sandbox's own account of what arrived."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def summary(self) -> dict[str, Any]:
        """Events, profiles, lists, requests, 429s, as the sandbox counts them."""
        with urllib.request.urlopen(f"{self.url}/sandbox/summary", timeout=10) as answer:  # noqa: S310 - loopback
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def sandbox_process(log: Path) -> Iterator[Sandboxed]:
    """A sandbox with Klaviyo's real rate limits."""
    command = [sys.executable, "-m", "klaviyo_relay_worker.sandbox", "--port", "0"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)  # noqa: S603 - our own
    try:
        if process.stdout is None:
            raise StageError("the sandbox has no output")
        line = process.stdout.readline()
        if not line:
            raise StageError(f"the sandbox did not start; see {log}")
        yield Sandboxed(json.loads(line)["url"], process.pid)
    finally:
        _end(process)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def worker_process(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker, started as a user would start it."""
    command = [sys.executable, "-m", "klaviyo_relay_worker", "worker"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own
            command, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
