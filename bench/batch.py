"""enqueue_many beside a bare pipelined XADD of the same bytes, its memory, and the installed size.

    python -m bench batch

Commands made beforehand and commands made on the way are two figures: the second also counts what
the application does for each of them. Both are per second of the calling process's CPU time, since
a core is what is asked about, and Redis has its own; the rate by the clock stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.order import EMAIL, METRIC, PROPERTIES
from bench.stage import (
    Figure,
    Result,
    home,
    install_base,
    median,
    resident_megabytes,
    size,
)
from klaviyo_relay import Producer, Settings, Track
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis

COMMANDS, ROUNDS = size(50_000, 10_000), size(5, 1)
SMALL, LARGE = 10_000, size(1_000_000, 100_000)
PIPELINED = 500
A_SECOND_AT_LEAST = 100_000
VARIANTS = ("xadd", "beforehand", "on the way")


def _commands(count: int) -> Iterator[Track]:
    return (Track(metric=METRIC, email=EMAIL, properties=PROPERTIES) for _ in range(count))


def _xadd(redis_url: str, count: int) -> Callable[[], None]:
    client = connect(redis_url)
    at = time.time_ns() // 1_000_000
    command = next(_commands(1))
    body = encode(Envelope(id=new_id(), account="default", at=at, command=command))
    client.ping()

    def work() -> None:
        for _ in range(count // PIPELINED):
            pipeline = client.pipeline(transaction=False)
            for _ in range(PIPELINED):
                pipeline.xadd("bench", {"e": body})
            pipeline.execute()

    return work


def _enqueue_many(redis_url: str, commands: Iterable[Track]) -> Callable[[], None]:
    producer = Producer(Settings(redis_url=redis_url, lane_max_bytes=10**12))
    return lambda: producer.enqueue_many(commands)


def child(what: str, redis_url: str, count: int) -> None:
    """One process; prints seconds by the clock and of CPU, and its resident megabytes."""
    if what == "xadd":
        work = _xadd(redis_url, count)
    else:
        made = list(_commands(count)) if what == "beforehand" else _commands(count)
        work = _enqueue_many(redis_url, made)
    began, spent = time.perf_counter(), time.process_time()
    work()
    found = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - spent,
        "megabytes": resident_megabytes(os.getpid()),
    }
    print(json.dumps(found))


def _run(what: str, url: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.batch", what, url, str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output)
    return found


def _installed_megabytes(path: Path) -> float:
    install_base(path)
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def run() -> list[Result]:
    took: dict[str, list[dict[str, float]]] = {what: [] for what in VARIANTS}
    with home() as path, PrivateRedis(path / "redis") as server:
        for number in range(ROUNDS):
            for what in VARIANTS[:: -1 if number % 2 else 1]:
                took[what].append(_run(what, server.url, COMMANDS))
        small = _run("on the way", server.url, SMALL)["megabytes"]
        large = _run("on the way", server.url, LARGE)["megabytes"]
        installed = _installed_megabytes(path / "installed")
    print(f"  {small:.0f} MB at {SMALL:,}, {large:.0f} MB at {LARGE:,}")
    return [
        _ratio_figure(took),
        _rate_figure("beforehand", took["beforehand"], A_SECOND_AT_LEAST),
        _rate_figure("on the way", took["on the way"], 0),
        Figure(
            f"memory of a process after enqueue_many of {LARGE:,}, of {SMALL:,}",
            f"{large / small:.2f}x ({large:.0f} MB)",
            "flat",
            large <= small * 1.1,
        ),
        Figure(
            "installed size of the base install with its dependencies",
            f"{installed:.1f} MB",
            "≤ 8 MB",
            installed <= 8,
        ),
    ]


def _ratio_figure(took: dict[str, list[dict[str, float]]]) -> Figure:
    seconds = {what: median([one["seconds"] for one in rounds]) for what, rounds in took.items()}
    ratio = seconds["beforehand"] / seconds["xadd"]
    each = seconds["beforehand"] / COMMANDS * 1e6
    print(f"  enqueue_many {each:.1f} µs a command")
    return Figure(
        "enqueue_many, of a bare pipelined XADD of the same bytes",
        f"{ratio:.2f}x ({each:.1f} µs a command)",
        "≤ 1.5x",
        ratio <= 1.5,
    )


def _rate_figure(when: str, rounds: list[dict[str, float]], at_least: int) -> Figure:
    """The bar is about enqueue_many, so none for making the commands as well."""
    by_core = COMMANDS / median([one["cpu"] for one in rounds])
    by_clock = COMMANDS / median([one["seconds"] for one in rounds])
    return Figure(
        f"enqueue_many, commands made {when}, a second of one core",
        f"{by_core:,.0f} ({by_clock:,.0f} a second by the clock)",
        f"≥ {at_least:,}" if at_least else "-",
        by_core >= at_least,
    )


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
