"""track() beside a redis-py RPUSH of the same body, in a flood, in one run.

    python -m bench enqueue

Each round is a fresh process that makes 20,000 calls; rounds of both are interleaved.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from bench.stage import PROPERTIES, Figure, home, median, percentile
from klaviyo_relay_worker.embedded import PrivateRedis

ROUNDS = 5
CALLS = 20_000
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def child(what: str, redis_url: str, spool_dir: str) -> None:
    from pathlib import Path

    from klaviyo_relay import Producer, Settings
    from klaviyo_relay.lane_entrance import connect

    producer = Producer(Settings(redis_url=redis_url, spool_dir=Path(spool_dir)))
    client = connect(redis_url)
    producer.track("Warm-up", email="ada@lovelace.dev")
    producer.flush(30)
    body = client.xrevrange("kr:{default:events}:stream", count=1)[0][1][b"e"]
    took = []
    clock = time.perf_counter
    for _ in range(CALLS):
        began = clock()
        if what == "track":
            producer.track(
                "Placed Order",
                email="ada@lovelace.dev",
                properties=PROPERTIES,
                value=23.99,
                value_currency="USD",
            )
        else:
            client.rpush("bench", body)
        took.append((clock() - began) * 1e6)
    left = producer.close(60).left
    quantiles = {name: percentile(took, share) for name, share in QUANTILES.items()}
    print(json.dumps({**quantiles, "left": left}))


def run() -> list[Figure]:
    results: dict[str, list[dict[str, float]]] = {"track": [], "rpush": []}
    with home() as path, PrivateRedis(path / "redis") as server:
        for number in range(ROUNDS):
            for what in ("track", "rpush") if number % 2 else ("rpush", "track"):
                command = [sys.executable, "-m", "bench.enqueue", what, server.url, str(path / "s")]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results[what].append(json.loads(output))
    found = {
        what: {name: median([one[name] for one in rounds]) for name in QUANTILES}
        for what, rounds in results.items()
    }
    for what, numbers in found.items():
        told = "  ".join(f"{name} {value:.1f} µs" for name, value in numbers.items())
        print(f"  {what:6} {told}")
    ratio = found["track"]["p50"] / found["rpush"]["p50"]
    p99 = found["track"]["p99"]
    spread = [one["p50"] for one in results["track"]]
    return [
        Figure(
            "track() p50 in a flood, of a redis-py RPUSH of an envelope",
            f"{ratio:.2f}x ({found['track']['p50']:.0f} of {found['rpush']['p50']:.0f} µs;"
            f" rounds {min(spread):.0f}-{max(spread):.0f})",
            "≤ 0.3x",
            ratio <= 0.3,
        ),
        Figure("track() p99 in a flood", f"{p99:.0f} µs", "(1 ms later on)", p99 <= 1000),
    ]


if __name__ == "__main__":
    child(*sys.argv[1:])
