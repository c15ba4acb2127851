"""`python -m bench`: a benchmark measures, and says whether its bars were reached."""

from __future__ import annotations

import subprocess
import sys

from environment import environment_of
from tree import REPOSITORY


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=REPOSITORY,
        env=environment_of(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_quick_benchmark_measures_every_peer_that_delivers():
    done = run("--quick", "latency")
    assert done.returncode in (0, 1), done.stderr
    for peer in ("relay", "celery-sdk", "celery-requests"):
        assert peer in done.stdout
    assert "Traceback" not in done.stderr


def test_a_benchmark_that_is_not_there_is_told_with_those_that_are():
    done = run("peers")
    assert done.returncode == 2
    assert "there is no peers; there are imports, enqueue, batch" in done.stderr
