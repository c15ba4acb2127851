"""`python -m klaviyo_relay_worker.sandbox`: the sandbox as a process of its own."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from .sandbox import Sandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; prints one JSON line with the URL when ready."""
    options = parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sandbox = Sandbox(
        host=options.host,
        port=options.port,
        limits=not options.no_limits,
        repeats=options.repeats,
        latency_seconds=options.latency_seconds,
        import_delay_seconds=options.import_delay_seconds,
        seed=options.seed,
        record=options.record,
        log=options.log,
    )
    with sandbox:
        sys.stdout.write(json.dumps({"url": sandbox.url}) + "\n")
        sys.stdout.flush()
        ended.wait()
    return 0


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    found = argparse.ArgumentParser(
        prog="klaviyo-relay sandbox",
        description="A stand-in for Klaviyo's API on this machine. Nothing leaves it.",
    )
    add = found.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=0, help="port to listen on; 0 takes a free one (%(default)s)")
    add("--no-limits", action="store_true", help="answer without rate limits")
    add(
        "--repeats",
        choices=("discard", "refuse"),
        default="discard",
        help="a bulk request that repeats a unique_id of an earlier one (%(default)s)",
    )
    add("--latency-seconds", type=float, default=0.0, help="wait before each answer (%(default)s)")
    add(
        "--import-delay-seconds",
        type=float,
        default=0.5,
        help="from an import job's creation to its completion (%(default)s)",
    )
    add("--seed", type=int, default=0, help="decides ids and the chance in faults (%(default)s)")
    add("--record", type=Path, help="keep the account in this file, and go on with it next time")
    add("--log", type=Path, help="append every request with its status to this file")
    return found


if __name__ == "__main__":
    sys.exit(main())
