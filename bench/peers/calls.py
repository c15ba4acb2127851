"""One process that calls one peer.

    python -m bench.peers.calls PEER MODE COUNT PLACE

Modes: `flood` one call after the other, `paced` 500 a second; both print quantiles in µs.
`stopped`: as flood, but without waiting for anything at the end; inf if a call raises. `fill`:
calls and prints nothing. `kill`: dies by SIGKILL after the last call, having said nothing to
anybody. PLACE is JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from math import inf

from bench.peers import BY_NAME
from bench.peers.peer import Caller, Peer, Place
from bench.stage import percentile

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
PER_SECOND = 500
TIMEOUT_SECONDS = 600.0


def start(peer: Peer, mode: str, count: int, place: Place) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.peers.calls", peer.name, mode, str(count)]
    return subprocess.Popen([*command, json.dumps(place)], stdout=subprocess.PIPE, text=True)


def result(
    process: subprocess.Popen[str], seconds: float = TIMEOUT_SECONDS
) -> dict[str, float] | None:
    """What it printed; None if it was still at it after so long: then it is killed.

    Raises:
        RuntimeError: it ended without a result.
    """
    with process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    if not output:
        raise RuntimeError(f"no result from {process.args!r}")
    found: dict[str, float] = json.loads(output)
    return found


def finished(process: subprocess.Popen[str]) -> dict[str, float]:
    """What it printed.

    Raises:
        RuntimeError: it printed nothing, or not in time.
    """
    found = result(process)
    if found is None:
        raise RuntimeError(f"not done in time: {process.args!r}")
    return found


def run(peer: Peer, mode: str, count: int, place: Place) -> dict[str, float]:
    return finished(start(peer, mode, count, place))


def fill(peer: Peer, count: int, place: Place) -> None:
    """Have so many calls made, in a process of their own."""
    with start(peer, "fill", count, place) as process:
        if process.wait(TIMEOUT_SECONDS):
            raise RuntimeError(f"{peer.name}: the calls failed")


def _measure(caller: Caller, count: int, pause: float) -> dict[str, float]:
    clock = time.perf_counter
    took = []
    due = clock()
    for _ in range(count):
        if pause:
            due += pause
            time.sleep(max(0.0, due - clock()))
        began = clock()
        caller.call()
        took.append((clock() - began) * 1e6)
    return {name: percentile(took, share) for name, share in QUANTILES.items()}


def _found(caller: Caller, mode: str, count: int) -> dict[str, float]:
    try:
        caller.call()
        return _measure(caller, count, 1 / PER_SECOND if mode == "paced" else 0.0)
    except Exception:
        # With Redis stopped some clients raise after a while, each an error of its own.
        if mode != "stopped":
            raise
        return dict.fromkeys(QUANTILES, inf)


def main(name: str, mode: str, count: int, place: Place) -> None:
    caller = BY_NAME[name].caller(place)
    if mode in ("fill", "kill"):
        for _ in range(count):
            caller.call()
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        print(json.dumps(_found(caller, mode, count)), flush=True)
    if mode != "stopped":
        caller.close()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Place(*json.loads(sys.argv[4])))
