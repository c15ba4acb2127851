"""Importing klaviyo_relay beside its peers, over the bare interpreter, in one run.

    python -m bench imports

Median of nine fresh interpreters each, interleaved. klaviyo_relay and redis twice: from a base
install alone, which is what a web application has and what the bars are about, and from the
environment that has all the peers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.peers import CALLED
from bench.stage import Figure, Measurement, Result, home, install_base, median, size

ROUNDS = size(9, 1)
ALONE = {"bare": "pass", "klaviyo_relay": "import klaviyo_relay", "redis": "import redis"}
BESIDE = {"bare": "pass", **{peer.name: peer.imports for peer in CALLED}}


def _milliseconds(options: list[str], code: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run([sys.executable, *options, "-c", code], check=True, env=environment)
    return (time.perf_counter() - began) * 1e3


def _over_bare(took: dict[str, list[float]]) -> dict[str, tuple[float, ...]]:
    """Without the first round, which warms the disk's cache."""
    bare = median(took["bare"][1:])
    return {name: tuple(value - bare for value in values[1:]) for name, values in took.items()}


def run() -> list[Result]:
    alone: dict[str, list[float]] = {name: [] for name in ALONE}
    beside: dict[str, list[float]] = {name: [] for name in BESIDE}
    with home() as path:
        install_base(path)
        begin = f"import sys; sys.path.insert(0, {str(path)!r}); "
        for _ in range(ROUNDS + 1):
            for name, code in ALONE.items():
                alone[name].append(_milliseconds(["-I", "-S"], begin + code))
            for name, code in BESIDE.items():
                beside[name].append(_milliseconds([], code))
    return _results(_over_bare(alone), _over_bare(beside))


def _results(
    alone: dict[str, tuple[float, ...]], beside: dict[str, tuple[float, ...]]
) -> list[Result]:
    ours, redis = median(alone["klaviyo_relay"]), median(alone["redis"])
    print(f"  a base install: klaviyo_relay {ours:.1f} ms, redis {redis:.1f} ms over bare Python")
    found = [Measurement(peer.name, "import", beside[peer.name]) for peer in CALLED]
    for one in found:
        print(f"  {one.who:16}{one.middle:7.1f} ms")
    return [
        *found,
        Figure("import klaviyo_relay, over bare Python", f"{ours:.0f} ms", "≤ 40 ms", ours <= 40),
        Figure("the same, of import redis", f"{ours / redis:.2f}x", "≤ 0.5x", ours <= redis / 2),
    ]
