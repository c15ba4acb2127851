"""import klaviyo_relay beside import redis, over the bare interpreter, in one run.

    python -m bench imports

Median of nine fresh interpreters each, interleaved.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.stage import Figure, median

ROUNDS = 9
CODE = {"bare": "pass", "klaviyo_relay": "import klaviyo_relay", "redis": "import redis"}


def run() -> list[Figure]:
    took: dict[str, list[float]] = {name: [] for name in CODE}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(ROUNDS + 1):
        for name, code in CODE.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            took[name].append((time.perf_counter() - began) * 1e3)
    # The first round warms the disk's cache.
    medians = {name: median(values[1:]) for name, values in took.items()}
    ours = medians["klaviyo_relay"] - medians["bare"]
    redis = medians["redis"] - medians["bare"]
    print(f"  bare {medians['bare']:.1f} ms, + klaviyo_relay {ours:.1f} ms, + redis {redis:.1f} ms")
    return [
        Figure("import klaviyo_relay, over bare Python", f"{ours:.0f} ms", "≤ 40 ms", ours <= 40),
        Figure("the same, of import redis", f"{ours / redis:.2f}x", "≤ 0.5x", ours <= redis / 2),
    ]
