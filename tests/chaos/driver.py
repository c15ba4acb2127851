"""A producer process: gives the commands of a workload, and notes each before and after the call.

    python driver.py JOURNAL SEED WRITER RATE LISTS [load]

What the journal calls accepted must be accounted for; what raised must not appear; what was being
given when the process was killed may be either.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from workload import Planned, Workload

from klaviyo_relay import Producer, RelayError
from klaviyo_relay.commands import build

_LOADED_AT_ONCE = 100
_LOAD_EVERY_SECONDS = 1.0


class Journal:
    """Appends to a file; a line is with the operating system when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def note(self, kind: str, **what: Any) -> None:
        """Append one line."""
        self._file.write(msgspec.json.encode({"kind": kind, "at": time.time(), **what}) + b"\n")


def give(producer: Producer, journal: Journal, planned: Planned) -> None:
    """One call."""
    journal.note("doing", planned=planned)
    try:
        identity = getattr(producer, planned.verb)(**planned.arguments)
    except RelayError as error:
        journal.note("raised", key=planned.key, error=str(error))
    else:
        journal.note("accepted", key=planned.key, id=identity)


def load(producer: Producer, journal: Journal, planned: list[Planned]) -> None:
    """One batch load, repeated under its name until Redis has all of it."""
    for one in planned:
        journal.note("doing", planned=one)
    commands = [build(one.verb, one.arguments) for one in planned]
    while not _ended.is_set():
        try:
            producer.enqueue_many(commands, source=f"load-{planned[0].key}", timeout=2.0)
        except RelayError:
            continue
        for one in planned:
            journal.note("accepted", key=one.key, id="")
        return


_ended = threading.Event()


def main() -> None:
    """Give commands until SIGTERM."""
    path, seed, writer, rate, lists = sys.argv[1:6]
    signal.signal(signal.SIGTERM, lambda *_: _ended.set())
    journal = Journal(Path(path))
    workload = Workload(seed, writer, json.loads(lists))
    producer = Producer()
    journal.note("began", writer=writer, pid=os.getpid())
    loads = "load" in sys.argv[6:]
    while not _ended.wait(_LOAD_EVERY_SECONDS if loads else 1 / float(rate)):
        if loads:
            load(producer, journal, workload.rows(_LOADED_AT_ONCE))
        else:
            give(producer, journal, workload.next())
    producer.close(timeout=5.0)


if __name__ == "__main__":
    main()
