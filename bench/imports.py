"""import klaviyo_relay beside import redis, over the bare interpreter, in one run.

    python -m bench imports

Median of nine fresh interpreters each, interleaved; of the base install, which is what a web
application has, and with nothing else to be found.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.stage import Figure, home, install_base, median

ROUNDS = 9
CODE = {"bare": "pass", "klaviyo_relay": "import klaviyo_relay", "redis": "import redis"}


def run() -> list[Figure]:
    took: dict[str, list[float]] = {name: [] for name in CODE}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with home() as path:
        install_base(path)
        begin = f"import sys; sys.path.insert(0, {str(path)!r}); "
        for _ in range(ROUNDS + 1):
            for name, code in CODE.items():
                began = time.perf_counter()
                command = [sys.executable, "-I", "-S", "-c", begin + code]
                subprocess.run(command, check=True, env=environment)
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
