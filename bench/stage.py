"""What every benchmark needs: a private Redis, a sandbox, a worker, and their CPU time."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from klaviyo_relay import Settings
from klaviyo_relay_worker.demo.stage import Sandboxed, sandbox_process, worker_process
from klaviyo_relay_worker.embedded import PrivateRedis

# Set by --quick.
QUICK_VARIABLE = "KLAVIYO_RELAY_BENCH_QUICK"


class Figure(NamedTuple):
    """One measured figure with its bar."""

    name: str
    value: str
    bar: str
    is_reached: bool


class Measurement(NamedTuple):
    """What was measured of one peer, by name, so that the table can put it beside the others'.

    Attributes:
        who: a peer's name, see bench/peers.
        what: a column of bench/table.py.
        values: one a round, of which the median counts; inf where something never ended.
    """

    who: str
    what: str
    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        return statistics.median(self.values)


Result = Figure | Measurement


def size(full: int, quick: int) -> int:
    """How much to measure: `quick` only shows that a benchmark works, and its figures are none."""
    return quick if os.environ.get(QUICK_VARIABLE) else full


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def wait_until(holds: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Look again and again, for so many seconds at most; says whether it came to hold."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


@contextmanager
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="klaviyo-relay-bench-") as name:
        yield Path(name)


def install_base(path: Path) -> None:
    """The base install with its dependencies, byte code included, into a directory of its own."""
    repository = Path(__file__).parent.parent
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--target", str(path)]
    subprocess.run([*pip, str(repository)], check=True)


class House:
    """Redis, sandbox and workers, each a process of its own."""

    def __init__(self, path: Path, redis_url: str, sandboxed: Sandboxed) -> None:
        self.path = path
        self.redis_url = redis_url
        self.sandbox_url = sandboxed.url
        self.sandbox_pid = sandboxed.pid
        self.settings = Settings(redis_url=redis_url, spool_dir=path / "spool")

    def sandbox(self, what: str, **query: Any) -> Any:
        url = f"{self.sandbox_url}/sandbox/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=620) as answer:
            return json.load(answer)

    def set(self, **settings: Any) -> None:
        body = json.dumps(settings).encode()
        url = f"{self.sandbox_url}/sandbox/settings"
        request = urllib.request.Request(
            url, data=body, method="POST", headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KLAVIYO_RELAY_REDIS_URL": self.redis_url,
            "KLAVIYO_API_URL": self.sandbox_url,
            "KLAVIYO_API_KEY": "pk_bench",
        }

    def worker(self, name: str = "worker") -> AbstractContextManager[subprocess.Popen[bytes]]:
        return worker_process(self.environment, self.path / f"{name}.log")


@contextmanager
def house() -> Iterator[House]:
    with (
        home() as path,
        PrivateRedis(path / "redis") as server,
        sandbox_process(path / "sandbox.log") as klaviyo,
    ):
        yield House(path, server.url, klaviyo)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its ended children (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_megabytes(pid: int) -> float:
    """The most resident memory that a process ever had (Linux: VmHWM, in KiB)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
