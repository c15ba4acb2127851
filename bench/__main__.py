"""Run the benchmarks, print the table, and with --write keep it in docs/benchmarks.md.

python -m bench [enqueue|imports|delivery|steady ...] [--write]
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.stage import QUICK_VARIABLE, Figure, Measurement
from klaviyo_relay_worker.embedded import find_server

ALL = (
    "imports",
    "enqueue",
    "batch",
    "latency",
    "limited",
    "backfill",
    "delivery",
    "memory",
    "steady",
)
DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all by default"
    )
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="only see that everything works")
    options = parser.parse_args()
    if options.quick:
        os.environ[QUICK_VARIABLE] = "1"
    figures: list[Figure] = []
    measured: list[Measurement] = []
    for name in options.names or ALL:
        module = importlib.import_module(f"bench.{name}")
        print((module.__doc__ or "").splitlines()[0])
        for one in module.run():
            (measured if isinstance(one, Measurement) else figures).append(one)
    table = _table(figures)
    print(f"\n{table}")
    if options.write:
        DOCUMENT.write_text(_document(table), "utf-8")
    return 0 if all(figure.is_reached for figure in figures) else 1


def _table(figures: list[Figure]) -> str:
    rows = [
        f"| {one.name} | {one.value} | {one.bar} | {'yes' if one.is_reached else '**no**'} |"
        for one in figures
    ]
    return "\n".join(["| figure | measured | bar | reached |", "|---|---|---|---|", *rows])


def _document(table: str) -> str:
    server = find_server()
    return f"""# Benchmarks

Made by `make bench` on {datetime.now(UTC):%Y-%m-%d}; do not edit by hand. Ratios are of two things
measured in one run, interleaved; single times depend on the machine.

{table}

Machine: {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python
{platform.python_version()}, {server.product} {server.version}, Celery {version("celery")},
redis-py {version("redis")}, requests {version("requests")}.

What each of them does stands in the head of its file in `bench/`.
"""


if __name__ == "__main__":
    sys.exit(main())
