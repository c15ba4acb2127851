"""`klaviyo-relay demo` and `klaviyo-relay sandbox`, as somebody tries them first."""

from __future__ import annotations

import json
import re
import signal
import urllib.request

import pytest

from environment import environment_of
from processes import Process
from programs import SCRIPT
from waiting import wait_until


@pytest.fixture
def start(tmp_path):
    """Starts `klaviyo-relay` without any setting."""
    started = []

    def start(*words):
        log = tmp_path / f"{words[0]}.log"
        home = environment_of(XDG_STATE_HOME=str(tmp_path / "state"))
        started.append(Process([SCRIPT, *words], home, log))
        return started[-1]

    yield start
    for one in started:
        one.clear()


def test_the_demo_delivers_a_few_customers_and_loses_nothing(start):
    demo = start("demo", "--customers", "5")
    assert demo.process.wait(120) == 0, demo.log()
    assert re.search(r"\blost:?\s+0\b", demo.log()), demo.log()


def test_the_sandbox_says_its_address_and_counts_what_it_is_sent(start):
    sandbox = start("sandbox", "--no-limits")
    url = wait_until(lambda: re.search(r"http://127\.0\.0\.1:[1-9]\d*", sandbox.log()), 60)[0]
    body = {
        "data": {
            "type": "event",
            "attributes": {
                "properties": {},
                "metric": {"data": {"type": "metric", "attributes": {"name": "M"}}},
                "profile": {"data": {"type": "profile", "attributes": {"email": "a@shop.io"}}},
            },
        }
    }
    headers = {
        "Authorization": "Klaviyo-API-Key pk_test",
        "revision": "2026-07-15",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/api/events", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        assert answer.status == 202
    with urllib.request.urlopen(f"{url}/sandbox/summary", timeout=30) as answer:  # noqa: S310 - loopback
        assert json.load(answer)["events"] == 1
    sandbox.send(signal.SIGINT)
    assert sandbox.process.wait(60) == 0, sandbox.log()
    assert "Traceback" not in sandbox.log()
