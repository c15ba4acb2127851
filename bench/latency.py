"""An idle system: from the call to the request at Klaviyo, klaviyo-relay beside Celery.

    python -m bench latency

Each has a Redis, a sandbox and a worker of its own, all there at the same time, and they take
turns: one event, then the next one's, at irregular moments, so that each is idle when called.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import NamedTuple

from bench.peers import DELIVERING, RELAY
from bench.peers.peer import Caller, Peer
from bench.peers.workers import place, worker
from bench.stage import Figure, House, Measurement, Result, house, percentile, size

EVENTS = size(200, 10)
SEED = 20261123
PEERS = tuple(peer for peer in DELIVERING if not peer.is_variant)
ENDPOINTS = ("POST /api/events", "POST /api/event-bulk-create-jobs")


class Stand(NamedTuple):
    """A peer with its house, and the moments of its calls in seconds since 1970."""

    peer: Peer
    home: House
    caller: Caller
    began: list[float]

    def call(self) -> None:
        """One call; waits until its event has arrived."""
        self.began.append(time.time())
        self.caller.call()
        self.home.sandbox("wait", events=len(self.began), timeout=60)

    def took(self) -> list[float]:
        """Milliseconds from each call to its request, without the first, which warms up."""
        log = self.home.sandbox("requests")["requests"]
        received = [one["received"] for one in log if one["endpoint"] in ENDPOINTS]
        pairs = zip(received, self.began, strict=True)
        return [(at - call) * 1e3 for at, call in pairs][1:]


def _stand(peer: Peer, stack: ExitStack) -> Stand:
    home = stack.enter_context(house())
    stack.enter_context(worker(peer, home))
    caller = peer.caller(place(home))
    stack.callback(caller.close)
    return Stand(peer, home, caller, [])


def _quantiles(stand: Stand) -> tuple[float, float]:
    took = stand.took()
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(
        f"  {stand.peer.name:16} p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(took):.1f} ms"
        f" (seed {SEED})"
    )
    return p50, p99


def run() -> list[Result]:
    pauses = random.Random(SEED)
    with ExitStack() as stack:
        stands = [_stand(peer, stack) for peer in PEERS]
        for _ in range(EVENTS + 1):
            for stand in stands:
                stand.call()
                time.sleep(pauses.uniform(0.02, 0.12))
        found = {stand.peer.name: _quantiles(stand) for stand in stands}
    p50, p99 = found[RELAY.name]
    return [
        *(
            Measurement(name, f"latency {quantile}", (value,))
            for name, both in found.items()
            for quantile, value in zip(("p50", "p99"), both, strict=True)
        ),
        Figure("idle: track() to request received, p50", f"{p50:.1f} ms", "≤ 25 ms", p50 <= 25),
        Figure("the same, p99", f"{p99:.1f} ms", "≤ 150 ms", p99 <= 150),
    ]
