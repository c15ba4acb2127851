"""An idle system: from the call of track() to the request at Klaviyo.

python -m bench latency
"""

from __future__ import annotations

import random
import time

from bench.stage import Figure, house, percentile
from klaviyo_relay import Producer

EVENTS = 200
SEED = 20261123


def run() -> list[Figure]:
    pauses = random.Random(SEED)
    began: dict[str, float] = {}
    with house() as home, home.worker():
        producer = Producer(home.settings)
        producer.track("Warm-up", email="ada@lovelace.dev")
        home.sandbox("wait", events=1, timeout=60)
        for number in range(EVENTS):
            at = time.time()
            began[producer.track("Looked", email="ada@lovelace.dev")] = at
            home.sandbox("wait", events=number + 2, timeout=60)
            time.sleep(pauses.uniform(0.02, 0.12))
        received = [
            one["received"]
            for one in home.sandbox("requests")["requests"]
            if one["endpoint"] in ("POST /api/events", "POST /api/event-bulk-create-jobs")
        ][1:]
        producer.close()
    took = [(at - call) * 1e3 for at, call in zip(received, began.values(), strict=True)]
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(f"  p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(took):.1f} ms (seed {SEED})")
    return [
        Figure("idle: track() to request received, p50", f"{p50:.1f} ms", "≤ 25 ms", p50 <= 25),
        Figure("the same, p99", f"{p99:.1f} ms", "≤ 150 ms", p99 <= 150),
    ]
