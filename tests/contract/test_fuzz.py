"""A short run of the fuzzer beside; a long one is made by hand, see its head."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from environment import environment_of

FUZZER = Path(__file__).with_name("fuzz.py")


def test_what_validation_accepts_the_sandbox_accepts_too() -> None:
    done = subprocess.run(
        [sys.executable, FUZZER, "--count", "20000", "--seed", "20261123"],
        env=environment_of(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 faults" in done.stdout
