"""How tests see into the sandbox, wait for it, start and stop it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox

IMPORTS = "/api/profile-bulk-import-jobs"
SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"


def test_the_control_endpoints_show_everything(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Without a key and without counting themselves."""
    list_id = sandbox.create_list("News")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    api.post("/api/events", make.event("ada@shop.io", unique_id="1"))

    def look(name: str) -> Any:
        return requests.get(f"{sandbox.url}/sandbox/{name}", timeout=30).json()

    assert look("summary") == sandbox.summary()
    assert look("events")["events"] == sandbox.events()
    assert look("events?offset=1")["events"] == []
    [profile] = look("profiles")["profiles"]
    assert profile["lists"] == [list_id]
    assert profile["subscriptions"]["email"]["marketing"]["consent"] == "SUBSCRIBED"
    assert [one["endpoint"] for one in look("requests")["requests"]] == [
        f"POST {SUBSCRIBE}",
        "POST /api/events",
    ]


def test_settings_and_faults_are_set_over_http(api: Any, make: Any, sandbox: Sandbox) -> None:
    """And what cannot be understood is refused."""
    control = f"{sandbox.url}/sandbox"
    rules = [{"endpoint": "*", "status": 500}]
    assert requests.post(f"{control}/faults", json=rules, timeout=30).status_code == 200
    assert api.post("/api/events", make.event()).status_code == 500
    assert requests.delete(f"{control}/faults", timeout=30).status_code == 204
    assert api.post("/api/events", make.event()).status_code == 202
    for name, body in (
        ("faults", [{"status": 500, "action": "reset"}]),
        ("faults", [{"status": 500, "tmies": 1}]),
        ("faults", [{"status": 500, "endpoint": "POST /api/event"}]),
        ("settings", {"repeats": "perhaps"}),
        ("settings", {"colour": "red"}),
    ):
        assert requests.post(f"{control}/{name}", json=body, timeout=30).status_code == 400
    changes = {"limits": True, "import_delay_seconds": 0}
    assert requests.post(f"{control}/settings", json=changes, timeout=30).json()["limits"] is True
    assert "RateLimit-Limit" in api.post("/api/events", make.event()).headers
    assert requests.post(f"{control}/reset", timeout=30).status_code == 204
    assert (sandbox.summary()["events"], sandbox.summary()["requests"]) == (0, {})


def test_waiting_ends_as_soon_as_all_has_arrived(api: Any, make: Any, sandbox: Sandbox) -> None:
    """A waiter is woken by the request that completes what it waits for."""
    list_id = sandbox.create_list("News: all")
    outcome: list[requests.Response] = []
    url = f"{sandbox.url}/sandbox/wait"
    params = {"events": 1, "profiles": 1, "members": "News: all:1", "requests": 2, "timeout": 20}

    def wait() -> None:
        outcome.append(requests.get(url, params=params, timeout=30))

    waiter = threading.Thread(target=wait)
    waiter.start()
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    api.post("/api/events", make.event("ada@shop.io"))
    waiter.join(30)
    assert outcome[0].status_code == 200
    assert outcome[0].json()["events"] == 1


def test_waiting_in_vain_is_408_with_the_summary(sandbox: Sandbox) -> None:
    """So that a test can say what is missing."""
    url = f"{sandbox.url}/sandbox/wait?events=1&timeout=0"
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, answer.json()["events"]) == (408, 0)
    with pytest.raises(TimeoutError):
        sandbox.wait(events=1, timeout=0)


def test_a_waiter_sees_jobs_become_due(make: Any) -> None:
    """Nobody else asks in between, and still the import is worked off."""
    with Sandbox(limits=False, import_delay_seconds=0.1) as sandbox:
        headers = {"Authorization": "Klaviyo-API-Key pk_x", "revision": "2026-07-15"}
        body = make.import_job(make.profile(email="ada@shop.io"))
        requests.post(sandbox.url + IMPORTS, json=body, headers=headers, timeout=30)
        assert sandbox.wait(profiles=1, timeout=60)["profiles"] == 1


def test_many_clients_at_once_lose_nothing(make: Any) -> None:
    """Eight threads, each with its own connection."""
    headers = {"Authorization": "Klaviyo-API-Key pk_x", "revision": "2026-07-15"}

    def send(url: str, first: int) -> None:
        with requests.Session() as session:
            for number in range(first, first + 25):
                body = make.event(f"a{number % 10}@shop.io", unique_id=str(number))
                session.post(f"{url}/api/events", json=body, headers=headers, timeout=30)

    with Sandbox(limits=False) as sandbox:
        threads = [threading.Thread(target=send, args=(sandbox.url, n * 25)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        summary = sandbox.summary()
    assert (summary["events"], summary["profiles"]) == (200, 10)
    assert summary["requests"] == {"POST /api/events": {"202": 200}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_the_process_says_its_url_and_ends_when_told(number: signal.Signals) -> None:
    """One JSON line on stdout when ready; exit status 0 on SIGTERM and SIGINT."""
    command = [sys.executable, "-m", "klaviyo_relay_worker.sandbox", "--no-limits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert requests.get(f"{url}/sandbox/summary", timeout=30).json()["events"] == 0
        process.send_signal(number)
        assert process.wait(60) == 0


def test_stopping_frees_the_port_and_ends_connections(make: Any) -> None:
    """A client that keeps its connection alive finds it closed."""
    with Sandbox(limits=False) as sandbox:
        url = sandbox.url
        session = requests.Session()
        assert session.get(f"{url}/sandbox/summary", timeout=30).status_code == 200
    with pytest.raises(requests.ConnectionError):
        session.get(f"{url}/sandbox/summary", timeout=30)
    with Sandbox(port=int(url.rpartition(":")[2])) as again:
        assert again.url == url
