"""A live event during a backfill of the same account: from track() to the request at Klaviyo.

    python -m bench backfill

One process loads 1,000,000 events with enqueue_many into the low-priority lane; one worker delivers
them within Klaviyo's limits, which the sandbox has on. From the start of the load on, this process
calls track() five times a second, at irregular moments: while Redis is being filled, and while the
backfill uses up what the limits allow.

The sandbox's log tells requests, not events, but a lane keeps its order, and a request of the
backfill is hundreds of events large where one of the live lane is at most what came in a few
seconds. So the n-th event of all small requests is the n-th call.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import Any

from bench.order import orders
from bench.stage import Figure, House, house, percentile, size, wait_until
from klaviyo_relay import Producer, Settings
from klaviyo_relay.envelope import BULK_SUFFIX
from klaviyo_relay.keys import Keys
from klaviyo_relay.redis_clients import connect

LOADED = size(1_000_000, 100_000)
EVENTS, A_SECOND = size(400, 30), 5
SEED = 20261124
# A load comes into its lane 500 commands at a time.
LIVE_MOST = 250
ARRIVAL_SECONDS = 60.0
ENDPOINTS = ("POST /api/events", "POST /api/event-bulk-create-jobs")


def child(redis_url: str, count: int) -> None:
    """The process that loads the backfill."""
    Producer(Settings(redis_url=redis_url)).enqueue_many(orders(count))


def _received(home: House) -> list[float]:
    """When each live event arrived, in order; seconds since 1970."""
    log: list[dict[str, Any]] = home.sandbox("requests")["requests"]
    live = [
        one
        for one in log
        if one["endpoint"] in ENDPOINTS and one["status"] == "202" and one["items"] <= LIVE_MOST
    ]
    return sorted(one["received"] for one in live for _ in range(one["items"]))


def _backlog(home: House) -> int:
    redis = connect(home.redis_url)
    found: Any = redis.xlen(Keys().lane("default", f"events{BULK_SUFFIX}").stream)
    redis.close()
    return int(found)


def _track(home: House, events: int) -> list[float]:
    """Call track() at irregular moments; returns when, in seconds since 1970."""
    pauses = random.Random(SEED)
    producer = Producer(home.settings)
    began = []
    for _ in range(events):
        time.sleep(pauses.uniform(0.5, 1.5) / A_SECOND)
        began.append(time.time())
        producer.track("Looked", email="ada@lovelace.dev")
    producer.close()
    return began


def run(loaded: int = LOADED, events: int = EVENTS) -> list[Figure]:
    """Smaller figures are for trying the benchmark out; the load must outlast the calls."""
    with house() as home, home.worker():
        Producer(home.settings).enqueue_many(orders(1), bulk=False)
        home.sandbox("wait", events=1, timeout=60)
        command = [sys.executable, "-m", "bench.backfill", home.redis_url, str(loaded)]
        with subprocess.Popen(command) as load:
            began = _track(home, events)
            if load.wait(ARRIVAL_SECONDS) != 0:
                raise RuntimeError("the load failed")
        backlog = _backlog(home)
        if not backlog:
            raise RuntimeError("the backfill was over before the calls were")
        wait_until(lambda: len(_received(home)) > events, ARRIVAL_SECONDS)
        # Without the warm-up.
        received = _received(home)[1:]
        throttled = home.sandbox("summary")["throttled"]
    took = [at - call for at, call in zip(received, began, strict=True)]
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(
        f"  p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, most {max(took) * 1e3:.0f} ms of"
        f" {events} calls; {backlog:,} events left of the backfill, {throttled} 429s (seed {SEED})"
    )
    return [
        Figure(
            f"during a backfill of {loaded:,}: track() to request received, p50",
            f"{p50 * 1e3:.0f} ms",
            "-",
            is_reached=True,
        ),
        Figure("the same, p99", f"{p99 * 1e3:.0f} ms", "≤ 2,000 ms", p99 <= 2),
    ]


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
