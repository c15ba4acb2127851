"""The examples of docs/testing.md run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from klaviyo_relay import subscribe, track
from klaviyo_relay.testing import capture

TESTING = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_examples_in_testing_md_pass(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", TESTING.read_text("utf-8"), re.DOTALL)
    # Django's needs a project; test_django.py has the same.
    plain = [block for block in blocks if "django" not in block]
    (tmp_path / "test_examples.py").write_text("\n\n".join(plain), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"],
        cwd=tmp_path, env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (len(blocks), len(plain)) == (5, 4)
    assert "3 passed" in ran.stdout, ran.stdout
    assert not (tmp_path / "state").exists()


def test_the_failure_in_testing_md_is_what_a_failure_says():
    with capture() as relay:
        track("Placed Order", email="ada@lovelace.dev", value=23.99, profile={"first_name": "Ada"})
        subscribe("Y6nRLr", email="ada@lovelace.dev")
    with pytest.raises(AssertionError) as caught:
        relay.assert_tracked("Placed Order", value=24)

    assert f"AssertionError: {caught.value}\n```" in TESTING.read_text("utf-8")
