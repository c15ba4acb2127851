"""A short run of the fuzzer in bench/fuzz.py; the long one is made by hand, see its head."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


def test_what_validation_accepts_the_sandbox_accepts_too():
    command = [sys.executable, "-m", "bench.fuzz", "--count", "20000", "--seed", "20261123"]

    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout
    assert "0 faults" in done.stdout
