# ruff: noqa: E501
"""enqueue_many beside a bare pipelined XADD of the same bytes, its memory, and the installed size.

python -m bench batch
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.stage import Figure, home, install_base, median, resident_megabytes
from klaviyo_relay_worker.embedded import PrivateRedis

COMMANDS, ROUNDS = 50_000, 5
SMALL, LARGE = 10_000, 1_000_000
PIPELINED = 500


def _commands(count: int) -> Iterator[object]:
    from bench.stage import PROPERTIES
    from klaviyo_relay import Track

    command = Track(metric="Placed Order", email="ada@lovelace.dev", properties=PROPERTIES)
    return (command for _ in range(count))


def child(what: str, redis_url: str, count: int) -> None:
    """One process; prints seconds and its resident megabytes at the end."""
    from klaviyo_relay import Producer, Settings
    from klaviyo_relay.envelope import Envelope, encode, new_id
    from klaviyo_relay.lane_entrance import connect

    client = connect(redis_url)
    at = time.time_ns() // 1_000_000
    command = next(_commands(1))
    body = encode(Envelope(id=new_id(), account="default", at=at, command=command))
    client.ping()
    began = time.perf_counter()
    if what == "xadd":
        for _ in range(count // PIPELINED):
            pipeline = client.pipeline(transaction=False)
            for _ in range(PIPELINED):
                pipeline.xadd("bench", {"e": body})
            pipeline.execute()
    else:
        settings = Settings(redis_url=redis_url, lane_max_bytes=10**12)
        Producer(settings).enqueue_many(_commands(count))
    took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "megabytes": resident_megabytes(os.getpid())}))


def _run(what: str, url: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.batch", what, url, str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output)
    return found


def _installed_megabytes(path: Path) -> float:
    install_base(path)
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def run() -> list[Figure]:
    took: dict[str, list[float]] = {"xadd": [], "enqueue_many": []}
    with home() as path, PrivateRedis(path / "redis") as server:
        for number in range(ROUNDS):
            for what in sorted(took, reverse=bool(number % 2)):
                took[what].append(_run(what, server.url, COMMANDS)["seconds"])
        small = _run("enqueue_many", server.url, SMALL)["megabytes"]
        large = _run("enqueue_many", server.url, LARGE)["megabytes"]
        size = _installed_megabytes(path / "installed")
    ratio = median(took["enqueue_many"]) / median(took["xadd"])
    each = median(took["enqueue_many"]) / COMMANDS * 1e6
    print(f"  enqueue_many {each:.1f} µs a command; {small:.0f} MB at {SMALL:,}, {large:.0f} MB at {LARGE:,}; {size:.1f} MB installed")  # fmt: skip
    return [
        Figure("enqueue_many, of a bare pipelined XADD of the same bytes", f"{ratio:.2f}x ({each:.1f} µs a command)", "≤ 1.5x", ratio <= 1.5),
        Figure("memory of a process after enqueue_many of 1,000,000, of 10,000", f"{large / small:.2f}x ({large:.0f} MB)", "flat", large <= small * 1.1),
        Figure("installed size of the base install with its dependencies", f"{size:.1f} MB", "≤ 8 MB", size <= 8),
    ]  # fmt: skip


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2], int(sys.argv[3]))
