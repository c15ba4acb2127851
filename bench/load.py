"""klaviyo-relay load of a CSV file, of csv.reader, json.dumps and a pipelined XADD, and its memory.

    python -m bench load

The floor checks nothing, gives no ids, can be neither killed nor run twice.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.stage import Figure, home, median, size
from klaviyo_relay_worker.embedded import PrivateRedis

ROWS, ROUNDS = size(200_000, 30_000), size(5, 1)
SMALL, LARGE = 10_000, size(1_000_000, 60_000)
PIPELINED = 1_000
LOADED_AS = ("--as", "track", "--event", "Placed Order", "--value-column", "total")
HEADER = ("email", "time", "total", "order", "item", "color", "carrier")


def write(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range(rows):
            who, at = f"customer{number}@fernhill.dev", f"2026-01-{number % 28 + 1:02}T12:00:00Z"
            order = [f"{number % 100}.50", f"A-{number}", "Wool socks", "red", "DHL"]
            writer.writerow([who, at, *order])


def floor(path: str, redis_url: str) -> None:
    from klaviyo_relay.redis_clients import connect

    client = connect(redis_url)
    with Path(path).open(newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        pipeline = client.pipeline(transaction=False)
        for row in rows:
            pipeline.xadd("bench", {"e": json.dumps(dict(zip(header, row, strict=True)))})
            if len(pipeline) == PIPELINED:
                pipeline.execute()
        pipeline.execute()


def _run(what: str, path: Path, server: PrivateRedis) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak megabytes of a process."""
    from klaviyo_relay.redis_clients import connect

    client = connect(server.url, answer_seconds=60)
    client.flushall()
    client.close()
    Path(f"{path}.checkpoint").unlink(missing_ok=True)
    command = {
        "floor": [sys.executable, "-m", "bench.load", str(path), server.url],
        "load": [sys.executable, "-m", "klaviyo_relay_worker", "load", str(path), *LOADED_AS],
    }[what]
    environment = {
        **os.environ,
        "KLAVIYO_RELAY_REDIS_URL": server.url,
        "KLAVIYO_RELAY_LANE_MAX_BYTES": str(10**12),
    }
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{what} ended with {process.returncode}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def run() -> list[Figure]:
    took: dict[str, list[float]] = {"floor": [], "load": []}
    cpu: dict[str, list[float]] = {"floor": [], "load": []}
    with home() as path, PrivateRedis(path / "redis") as server:
        file = path / "orders.csv"
        write(file, SMALL)
        # Both start Python and import; the difference to a small file is what rows cost.
        start = {what: _run(what, file, server) for what in took}
        small = start["load"][2]
        write(file, ROWS)
        for number in range(ROUNDS):
            for what in sorted(took, reverse=bool(number % 2)):
                wall, used, _ = _run(what, file, server)
                took[what].append(wall - start[what][0])
                cpu[what].append(used - start[what][1])
        write(file, LARGE)
        wall, used, large = _run("load", file, server)
    print(f"  load of {LARGE:,} rows in {wall:.1f} s ({used:.1f} s CPU)")
    return [*_row_figures(took, cpu), _memory_figure(small, large)]


def _row_figures(took: dict[str, list[float]], cpu: dict[str, list[float]]) -> list[Figure]:
    rows = ROWS - SMALL
    each = {what: median(took[what]) / rows * 1e6 for what in took}
    core = {what: min(cpu[what]) / rows * 1e6 for what in cpu}
    for what in took:
        print(f"  {what} {each[what]:.1f} µs a row ({core[what]:.1f} µs CPU)")
    ratio = median(took["load"]) / median(took["floor"])
    return [
        Figure(
            "load of a CSV file, of csv.reader, json.dumps and a pipelined XADD",
            f"{ratio:.2f}x ({each['load']:.1f} µs a row)",
            "≤ 1.5x",
            ratio <= 1.5,
        ),
        Figure(
            "rows of a CSV file in a second of one core, all checks included",
            f"{1e6 / core['load']:,.0f}",
            "≥ 40,000",
            core["load"] <= 25,
        ),
    ]


def _memory_figure(small: float, large: float) -> Figure:
    return Figure(
        f"memory of a load of {LARGE:,} rows, of {SMALL:,}",
        f"{large / small:.2f}x ({large:.0f} MB)",
        "flat",
        large <= small * 1.1,
    )


if __name__ == "__main__":
    floor(sys.argv[1], sys.argv[2])
