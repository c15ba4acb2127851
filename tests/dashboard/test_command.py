"""`klaviyo-relay dashboard`, as a person types it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import pytest
import requests

from environment import environment_of
from klaviyo_relay_worker.dashboard.binding import TOKEN

PROGRAM = [sys.executable, "-m", "klaviyo_relay_worker", "dashboard"]


@pytest.fixture
def environment(redis_url):
    return environment_of(KLAVIYO_RELAY_REDIS_URL=redis_url)


def run(environment, *arguments, **more):
    return subprocess.run(
        [*PROGRAM, *arguments], env={**environment, **more}, capture_output=True, text=True,
        timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def process(environment):
    """A dashboard in a process of its own."""
    with subprocess.Popen(
        [*PROGRAM, "--port", "0"], env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as started:  # fmt: skip
        yield started
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_it_says_where_it_is_and_ends_when_told(process, number):
    said = re.match(r"dashboard at (http://127\.0\.0\.1:\d+/)", process.stdout.readline())
    assert "No lanes yet" in requests.get(said[1], timeout=20).text
    process.send_signal(number)
    process.wait(60)
    assert process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--name", "relay.shop.io")], ids=str)  # noqa: S104 - refused
@pytest.mark.parametrize("token", ["", "fifteen-letters"])
def test_beyond_this_machine_it_refuses_to_start_without_a_token(environment, arguments, token):
    done = run(environment, "--port", "0", *arguments, **{TOKEN: token})
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{TOKEN}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said_politely(environment):
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run(environment, "--port", str(other.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
