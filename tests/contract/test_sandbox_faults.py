"""Faults on demand: what a client must survive."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox

BULK = "/api/event-bulk-create-jobs"
IMPORTS = "/api/profile-bulk-import-jobs"
ENTRIES = "/data/attributes/events-bulk-create/data"
ROWS = "/data/attributes/profiles/data"


@contextmanager
def connection(api: Any) -> Iterator[http.client.HTTPConnection]:
    """A connection that is never opened anew behind one's back."""
    made = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=30)
    made.connect()
    made.auto_open = 0
    try:
        yield made
    finally:
        made.close()


def test_a_status_fault_hits_as_often_as_told(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Unprocessed, with Retry-After if asked for, and only the endpoint that is meant."""
    rule = {"endpoint": "POST /api/events", "times": 2, "status": 503, "retry_after": 7}
    sandbox.set_faults([rule])
    answers = [api.post("/api/events", make.event(unique_id=str(n))) for n in range(3)]
    assert [one.status_code for one in answers] == [503, 503, 202]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json()["errors"][0]["code"] == "service_unavailable"
    assert sandbox.summary()["events"] == 1
    sandbox.set_faults([rule])
    assert api.post(BULK, make.bulk(make.entry())).status_code == 202


def test_a_reset_loses_the_request(api: Any, make: Any, sandbox: Sandbox) -> None:
    """The connection breaks and nothing is processed."""
    sandbox.set_faults([{"action": "reset", "times": 1}])
    with connection(api) as kept:
        known = {str(name): str(value) for name, value in api.session.headers.items()}
        kept.request("POST", "/api/events", json.dumps(make.event()), known)
        with pytest.raises(ConnectionResetError):
            kept.sock.recv(1)
    assert sandbox.summary()["events"] == 0
    assert sandbox.summary()["requests"] == {"POST /api/events": {"reset": 1}}


def test_a_lost_answer_was_processed(api: Any, make: Any, sandbox: Sandbox) -> None:
    """The connection breaks, and yet the event is there."""
    sandbox.set_faults([{"action": "lose_answer", "times": 1}])
    with pytest.raises(requests.ConnectionError):
        api.post("/api/events", make.event(unique_id="1"))
    assert api.post("/api/events", make.event(unique_id="1")).status_code == 202
    assert sandbox.summary()["events"] == 1
    assert sandbox.summary()["duplicates_discarded"] == 1


def test_a_hang_answers_never(api: Any, make: Any, sandbox: Sandbox) -> None:
    """The client has to give up by itself, and nothing was processed."""
    sandbox.set_faults([{"action": "hang", "seconds": 60, "times": 1}])
    with pytest.raises(requests.ReadTimeout):
        api.post("/api/events", make.event(), timeout=0.1)
    assert sandbox.summary()["events"] == 0


def test_a_delay_answers_late(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Too late for an impatient client, but the request is processed all the same."""
    sandbox.set_faults([{"action": "delay", "seconds": 0.2, "times": 1}])
    with pytest.raises(requests.ReadTimeout):
        api.post("/api/events", make.event(), timeout=0.05)
    assert sandbox.wait(events=1, timeout=60)["events"] == 1


def test_a_dripping_answer_outlives_a_read_timeout(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Byte by byte it takes longer in all than each wait for a byte."""
    sandbox.set_faults([{"action": "drip", "seconds_per_byte": 0.002, "times": 1}])
    answer = api.post("/api/events", make.event(), timeout=0.1)
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() > 0.1


def test_refused_items_are_named_by_their_content(api: Any, make: Any, sandbox: Sandbox) -> None:
    """One error for each item that contains the match."""
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    emails = ["ada@shop.io", "poison1@shop.io", "bob@shop.io", "poison2@shop.io"]
    body = make.bulk(*(make.entry(email) for email in emails))
    assert api.pointers(BULK, body) == [f"{ENTRIES}/1/attributes", f"{ENTRIES}/3/attributes"]
    rows = make.import_job(*(make.profile(email=email) for email in emails))
    assert api.pointers(IMPORTS, rows) == [f"{ROWS}/1/attributes", f"{ROWS}/3/attributes"]
    assert api.pointers("/api/events", make.event("poison1@shop.io")) == ["/data"]
    assert api.post(BULK, make.bulk(make.entry("ada@shop.io"))).status_code == 202


def test_refused_items_may_stay_unnamed(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Then one error points to the whole, and the client must search."""
    sandbox.set_faults([{"action": "refuse", "match": "poison", "pointer": False}])
    body = make.bulk(make.entry("ada@shop.io"), make.entry("poison@shop.io"))
    assert api.pointers(BULK, body) == ["/data"]


def test_chance_follows_the_seed(make: Any) -> None:
    """A fault of probability one half hits some, and the same ones with the same seed."""

    def outcomes() -> list[int]:
        with Sandbox(limits=False, seed=5) as sandbox:
            sandbox.set_faults([{"status": 500, "probability": 0.5}])
            headers = {"Authorization": "Klaviyo-API-Key pk_x", "revision": "2026-07-15"}
            with requests.Session() as session:
                url = f"{sandbox.url}/api/events"
                return [
                    session.post(url, json=make.event(), headers=headers).status_code
                    for _ in range(20)
                ]

    first = outcomes()
    assert set(first) == {202, 500}
    assert outcomes() == first
