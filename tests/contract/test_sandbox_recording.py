from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox

Launch = Callable[..., tuple[Sandbox, Any]]


@pytest.fixture
def launch(clock: Any, api: Any) -> Iterator[Launch]:
    """Starts sandboxes, each with a client, and stops them."""
    running = []

    def launched(**settings: Any) -> tuple[Sandbox, Any]:
        sandbox = Sandbox(clock=clock, **settings)
        sandbox.start()
        running.append(sandbox)
        return sandbox, type(api)(sandbox.url)

    yield launched
    for sandbox in running:
        sandbox.stop()


@pytest.fixture
def start(launch: Launch, tmp_path: Path) -> Launch:
    """Starts a sandbox whose account lives in one file, as often as asked."""

    def started(**settings: Any) -> tuple[Sandbox, Any]:
        return launch(record=tmp_path / "record", **settings)

    return started


def account(sandbox: Sandbox) -> dict[str, Any]:
    summary = sandbox.summary()
    kept = ("events", "profiles", "lists", "duplicates_discarded", "deletions")
    return {
        "numbers": {name: summary[name] for name in kept},
        "events": sandbox.events(),
        "profiles": sandbox.profiles(),
    }


def fill(api: Any, sandbox: Sandbox, make: Any, clock: Any) -> None:
    """Some of everything that leaves a trace."""
    list_id = sandbox.create_list("Readers")
    api.post("/api/lists", make.new_list("News"))
    for number in range(3):
        clock.turn(1.5)
        api.post("/api/events", make.event(email=f"e{number}@shop.io"))
        api.post("/api/profile-import", {"data": make.profile(email=f"p{number}@shop.io")})
    job = make.import_job(make.profile(email="row@shop.io"), lists=(list_id,))
    assert api.post("/api/profile-bulk-import-jobs", job).status_code == 202


def test_an_account_comes_back_as_it_was(start: Launch, make: Any, clock: Any) -> None:
    first, api = start(limits=False)
    fill(api, first, make, clock)
    clock.turn(1)
    before = account(first)
    first.stop()
    second, _ = start(limits=False)

    assert before["numbers"]["events"] == 3
    assert len(before["profiles"]) == 7
    assert account(second) == before


def test_a_job_under_way_is_done_after_the_restart(start: Launch, make: Any, clock: Any) -> None:
    first, api = start(limits=False, import_delay_seconds=5.0)
    fill(api, first, make, clock)
    assert first.summary()["profiles"] == 6
    first.stop()
    second, _ = start(limits=False)
    clock.turn(5)

    assert second.wait(profiles=7, members={"Readers": 1}, timeout=60)["profiles"] == 7


def test_it_makes_no_difference_how_often_somebody_looked_while_jobs_ended(
    start: Launch, make: Any, clock: Any
) -> None:
    first, api = start(limits=False, import_delay_seconds=4.0)
    api.post("/api/profile-bulk-import-jobs", make.import_job(make.profile(email="late@shop.io")))
    first.configure(import_delay_seconds=1.0)
    api.post("/api/profile-bulk-import-jobs", make.import_job(make.profile(email="soon@shop.io")))
    clock.turn(2)
    assert [one["email"] for one in first.profiles()] == ["soon@shop.io"]
    clock.turn(3)
    before = account(first)
    first.stop()
    second, _ = start(limits=False, import_delay_seconds=4.0)
    assert account(second) == before


def test_the_ids_that_follow_are_those_that_would_have_followed(
    launch: Launch, start: Launch, make: Any, clock: Any
) -> None:
    whole, api = launch(limits=False)
    began = clock.now
    fill(api, whole, make, clock)
    clock.turn(1)
    api.post("/api/events", make.event(email="late@shop.io"))
    clock.now = began
    first, api = start(limits=False)
    fill(api, first, make, clock)
    clock.turn(1)
    first.stop()
    second, api = start(limits=False)
    api.post("/api/events", make.event(email="late@shop.io"))

    assert account(second) == account(whole)


def test_a_line_that_was_cut_off_never_happened(
    start: Launch, make: Any, clock: Any, tmp_path: Path
) -> None:
    first, api = start(limits=False)
    fill(api, first, make, clock)
    first.stop()
    path = tmp_path / "record"
    path.write_bytes(path.read_bytes()[:-5])
    second, api = start(limits=False)
    clock.turn(1)

    assert second.summary()["profiles"] == 6
    api.post("/api/events", make.event(email="late@shop.io"))
    second.stop()
    third, _ = start(limits=False)
    assert third.summary()["profiles"] == 7


def test_what_was_refused_or_only_read_is_not_recorded(
    start: Launch, make: Any, tmp_path: Path
) -> None:
    sandbox, api = start(limits=False)
    sandbox.set_faults([{"status": 500, "times": 1}])
    api.post("/api/events", make.event(email="e@shop.io"))
    api.post("/api/events", make.event(email="no address"))
    api.get("/api/lists")

    assert (tmp_path / "record").read_bytes() == b""


def test_a_lost_answer_is_recorded(start: Launch, make: Any, tmp_path: Path) -> None:
    sandbox, api = start(limits=False)
    sandbox.set_faults([{"action": "lose_answer", "times": 1}])
    with pytest.raises(requests.ConnectionError):
        api.post("/api/events", make.event(email="e@shop.io"))

    assert json.loads((tmp_path / "record").read_text())["path"] == "/api/events"


def test_settings_and_a_reset_come_back_too(start: Launch, make: Any, clock: Any) -> None:
    first, api = start(limits=False)
    fill(api, first, make, clock)
    first.configure(repeats="refuse", clock_offset_seconds=60.0)
    api.post("/sandbox/reset", {})
    first.stop()
    second, api = start(limits=False)

    settings = api.get("/sandbox/settings")
    assert (settings["repeats"], settings["clock_offset_seconds"]) == ("refuse", 60.0)
    assert second.summary()["profiles"] == 0


def test_the_log_tells_what_a_fault_rule_made(launch: Launch, make: Any, tmp_path: Path) -> None:
    sandbox, api = launch(limits=False, log=tmp_path / "log")
    sandbox.set_faults([{"status": 429, "times": 1}])
    api.post("/api/events", make.event(email="e@shop.io"))
    api.post("/api/events", make.event(email="no address"))
    api.post("/api/events", make.event(email="e@shop.io"))

    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    said = [(one[4], one[7]) for one in lines]
    assert said == [("429", True), ("400", False), ("202", False)]
    assert lines[1][8].endswith("/data/attributes/profile/data/attributes/email")


def test_another_integration_uses_up_the_limits(limited_api: Any, make: Any) -> None:
    def post() -> int:
        return limited_api.post("/api/lists", make.new_list("News")).status_code

    use = {"endpoint": "POST /api/lists", "calls": 20}
    assert limited_api.post("/sandbox/consume", use).json() == {"used": 0}
    assert post() == 201
    assert limited_api.post("/sandbox/consume", use).json() == {"used": 9}
    assert post() == 429
    assert limited_api.post("/sandbox/consume", {**use, "endpoint": "?"}).status_code == 400


def test_the_clock_can_be_put_ahead(launch: Launch, make: Any, clock: Any) -> None:
    sandbox, api = launch(limits=False)
    sandbox.configure(clock_offset_seconds=3_600.0)
    api.post("/api/profile-import", {"data": make.profile(email="p@shop.io")})

    assert sandbox.profiles()[0]["created"] == "2027-01-15T09:00:00+00:00"


@pytest.fixture
def importing(launch: Launch, make: Any) -> tuple[Sandbox, Callable[[], Any]]:
    """A sandbox, and what begins a job of two rows and gives a look at its attributes."""
    sandbox, api = launch(limits=False, import_delay_seconds=1.0)
    rows = [make.profile(email=f"{name}@shop.io") for name in ("good", "bad")]

    def begin() -> Callable[[], Any]:
        job = make.import_job(*rows)
        made = api.post("/api/profile-bulk-import-jobs", job).json()["data"]["id"]
        return lambda: api.get(f"/api/profile-bulk-import-jobs/{made}")["data"]["attributes"]

    return sandbox, begin


def test_a_clock_that_jumps_makes_no_job_longer(importing: Any, clock: Any) -> None:
    sandbox, begin = importing
    sandbox.configure(clock_offset_seconds=3_600.0)
    look = begin()
    sandbox.configure(clock_offset_seconds=0.0)
    clock.turn(2)
    assert look()["status"] == "complete"


def test_jobs_can_be_kept_from_ever_ending(importing: Any, clock: Any) -> None:
    sandbox, begin = importing
    sandbox.configure(finish_jobs=False)
    look = begin()
    clock.turn(3_600)
    assert look()["status"] == "processing"
    sandbox.configure(finish_jobs=True)
    assert look()["status"] == "complete"


def test_rows_can_be_made_to_fail(importing: Any, clock: Any) -> None:
    sandbox, begin = importing
    sandbox.configure(failing_rows="bad@")
    look = begin()
    clock.turn(2)

    assert (look()["completed_count"], look()["failed_count"]) == (1, 1)
    assert [one["email"] for one in sandbox.profiles()] == ["good@shop.io"]
