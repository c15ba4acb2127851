"""Where segment, posthog and rudder send to: a server on loopback that counts what comes."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.peer import Place


@contextmanager
def sink_process() -> Iterator[str]:
    """The URL of a sink in a process of its own."""
    command = [sys.executable, "-m", "bench.peers.sink_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (url := process.stdout.readline().strip()):
                raise RuntimeError("the sink did not start")
            yield url
        finally:
            process.kill()


def arrived(place: Place) -> int:
    """How many items have come so far."""
    with urllib.request.urlopen(f"{place.sink_url}/count", timeout=10) as answer:
        return int(answer.read())
