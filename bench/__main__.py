"""Run the benchmarks, print what they say, and keep it in docs/benchmarks.md.

    python -m bench [NAME ...] [--quick] [--full] [--write] [--docs DIRECTORY]

Without names everything runs that fits into a quarter of an hour, and docs/benchmarks.md with its
charts is written; --full adds what takes longer. With names or with --quick, which measures so
little that it only shows that everything works, nothing is written without --write.

The exit code is 1 if a bar was not reached.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from bench.stage import QUICK_VARIABLE, Figure, Measurement

ALL = (
    "imports",
    "enqueue",
    "batch",
    "load",
    "latency",
    "limited",
    "backfill",
    "delivery",
    "memory",
)
LONG = ("steady",)
DOCS = Path(__file__).parent.parent / "docs"


def _options() -> argparse.Namespace:
    names = ", ".join((*ALL, *LONG))
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {names}")
    parser.add_argument("--quick", action="store_true", help="only see that everything works")
    parser.add_argument("--full", action="store_true", help=f"also {', '.join(LONG)}")
    parser.add_argument("--write", action="store_true", help="keep what a part of a run measured")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where it is kept (%(default)s)")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in (*ALL, *LONG)]:
        parser.error(f"there is no {', '.join(unknown)}; there are {names}")
    return options


def _wanted(options: argparse.Namespace) -> list[str]:
    return list(options.names) or [*ALL, *(LONG if options.full else ())]


def _run(names: list[str]) -> tuple[list[Figure], list[Measurement]]:
    figures: list[Figure] = []
    measured: list[Measurement] = []
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        print((module.__doc__ or "").splitlines()[0], flush=True)
        began = time.monotonic()
        for one in module.run():
            (measured if isinstance(one, Measurement) else figures).append(one)
        print(f"  took {time.monotonic() - began:.0f} s", flush=True)
    return figures, measured


def main() -> int:
    options = _options()
    if options.quick:
        # Before any of the modules is imported, which read it then.
        os.environ[QUICK_VARIABLE] = "1"
    figures, measured = _run(_wanted(options))
    from bench.document import figures_table, write

    print(f"\n{figures_table(figures)}")
    if options.write or not (options.names or options.quick):
        write(options.docs, figures, measured, _command(options))
    return 0 if all(figure.is_reached for figure in figures) else 1


def _command(options: argparse.Namespace) -> str:
    """As somebody would type it."""
    given = [*options.names, *(f"--{name}" for name in ("full", "quick") if getattr(options, name))]
    return f'make bench ARGS="{" ".join(given)}"' if given else "make bench"


if __name__ == "__main__":
    sys.exit(main())
