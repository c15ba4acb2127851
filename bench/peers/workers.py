"""A peer's worker, with all its processes: started, measured as a whole, and ended by id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.celery_calls import BROKER_VARIABLE
from bench.peers.peer import Peer, Place
from bench.stage import House, cpu_seconds, peak_megabytes

# A task may be waiting for the end of Klaviyo's minute; what it holds is of no interest any more.
END_SECONDS = 3.0


class Worker:
    """The process that was started, and its children."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(pid) for pid in self._pids())

    def peak_megabytes(self) -> float:
        """Pages that forked processes share count for each of them."""
        return sum(peak_megabytes(pid) for pid in self._pids())

    def end(self) -> None:
        """It is asked first; then the rest of its process group is killed."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _pids(self) -> list[int]:
        """The process and, as Linux lists them, its children."""
        pid = self._process.pid
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        return [pid, *map(int, children)]


@contextmanager
def worker(peer: Peer, home: House) -> Iterator[Worker]:
    """The worker that delivers what the peer's calls left in the house's Redis."""
    environment = {**os.environ, **home.environment, BROKER_VARIABLE: home.redis_url}
    command = [sys.executable, *(peer.worker or ())]
    with (home.path / f"{peer.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    started = Worker(process)
    try:
        yield started
    finally:
        started.end()


def place(home: House) -> Place:
    """The house as the calls of a peer need it."""
    return Place(home.redis_url, str(home.path))
