"""The units: systemd understands them, they are shut in, and what they start does its work."""

from __future__ import annotations

import re
import sys

import pytest

UNITS = ("worker", "dashboard", "metrics")
PROGRAM = "/opt/klaviyo-relay/bin/klaviyo-relay"
# systemd's own measure times ten, of 100 (all is open) to 0; below 20 it says "OK".
EXPOSURE_MOST = 15


@pytest.fixture
def unit(deploy, tmp_path):
    """Gives a unit's text by its name, and writes it with a program that exists."""

    def read(name):
        text = (deploy / "systemd" / f"klaviyo-relay-{name}.service").read_text()
        path = tmp_path / f"klaviyo-relay-{name}.service"
        path.write_text(text.replace(PROGRAM, sys.executable))
        return text, path

    return read


def settings_of(text):
    """Setting -> its values, in order."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"(?m)^(\w+)=(.*)$", text):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_the_unit(tool, unit, name):
    _, path = unit(name)
    done = tool("systemd-analyze")("verify", "--man=no", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_is_shut_in(tool, unit, name):
    _, path = unit(name)
    analyse = tool("systemd-analyze")
    done = analyse("security", "--offline=true", f"--threshold={EXPOSURE_MOST}", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_all_units_are_shut_in_alike(unit, name):
    box = re.compile(r"(?s)# It reads its own files.*?SystemCallErrorNumber=EPERM\n")
    assert box.search(unit(name)[0]).group() == box.search(unit("worker")[0]).group()


def test_the_worker_of_the_unit_starts_delivers_and_ends_within_its_time(
    unit, stage, redis_url, sandbox
):
    text, _ = unit("worker")
    settings = settings_of(text)
    words = settings["ExecStart"][0].split()
    assert words[0] == PROGRAM
    home = stage.directory / "state"
    (home / "klaviyo-relay").mkdir(parents=True)
    environment = dict(
        line.replace("%S", str(home)).split("=", 1) for line in settings["Environment"]
    )
    worker = stage.relay(
        *words[1:],
        **environment,
        KLAVIYO_RELAY_REDIS_URL=redis_url,
        KLAVIYO_API_URL=sandbox.url,
        KLAVIYO_API_KEY="pk_deploy",
    )
    worker.says(" ready.")
    done = stage.run_relay(
        *("track", "Placed Order", "--email", "ada@lovelace.dev"),
        **environment,
        KLAVIYO_RELAY_REDIS_URL=redis_url,
    )
    assert done.returncode == 0, done.stderr
    assert worker.end(float(settings["TimeoutStopSec"][0])) == 0
