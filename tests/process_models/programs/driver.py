"""An application that calls what a line on its standard input says, and answers with a line."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import klaviyo_relay as klaviyo

Tracked = dict[str, list[Any]]


def track(told: dict[str, Any], into: Tracked) -> None:
    """One call, timed."""
    arguments = {key: told[key] for key in ("profile", "properties") if key in told}
    began = time.perf_counter()
    try:
        identity = klaviyo.track("M", email="ada@lovelace.dev", **arguments)
    except Exception as error:  # noqa: BLE001 - it is what the test asks about
        into["errors"].append(repr(error))
    else:
        into["ids"].append(identity)
    into["seconds"].append(time.perf_counter() - began)


class Background:
    """Tracks from a thread."""

    def __init__(self, every_seconds: float) -> None:
        self._over = threading.Event()
        self._every = every_seconds
        self._tracked: Tracked = {"ids": [], "seconds": [], "errors": []}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            track({}, self._tracked)

    def pause(self) -> Tracked:
        """End it; what it did."""
        self._over.set()
        self._thread.join()
        return self._tracked


def main() -> None:
    """Answer until the input ends."""
    background: Background | None = None
    for line in sys.stdin:
        told = json.loads(line)
        answer: Any = None
        match told["do"]:
            case "track":
                answer = {"ids": [], "seconds": [], "errors": []}
                for _ in range(told["count"]):
                    track(told, answer)
            case "begin":
                background = Background(told["every_seconds"])
            case "pause" if background is not None:
                answer = background.pause()
            case "flush":
                answer = klaviyo.flush(told["timeout"]).left
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
