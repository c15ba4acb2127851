"""A sandbox whose answers hold what no client knows yet."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox


@pytest.fixture
def account(api: Any, make: Any, sandbox: Sandbox, clock: Any) -> dict[str, str]:
    """Paths of one resource of each kind, by type."""
    api.post("/api/events", make.event("ada@shop.io"))
    listed = sandbox.create_list("News")
    segment = sandbox.create_segment("Buyers", "ada@shop.io")
    taken = make.profile(email="ada@shop.io", phone_number="+4915112345678")
    api.post("/api/profile-import", {"data": make.profile(phone_number="+4915112345678")})
    imports = "/api/profile-bulk-import-jobs"
    job = api.post(imports, make.import_job(taken)).json()["data"]["id"]
    stops = "/api/profile-suppression-bulk-create-jobs"
    stop = api.post(stops, make.suppression_job("create", "bob@shop.io")).json()["data"]["id"]
    clock.turn(1)
    return {
        "event": "/api/events",
        "metric": "/api/metrics",
        "profile": "/api/profiles",
        "list": f"/api/lists/{listed}",
        "segment": f"/api/segments/{segment}",
        "profile-bulk-import-job": f"{imports}/{job}",
        "import-error": f"{imports}/{job}/import-errors",
        "profile-suppression-bulk-create-job": f"{stops}/{stop}",
    }


def first(document: Any) -> Any:
    data = document["data"]
    return data[0] if isinstance(data, list) else data


def test_every_resource_has_an_unknown_attribute_and_one_of_another_type(
    api: Any, sandbox: Sandbox, account: dict[str, str]
) -> None:
    known = {kind: first(api.get(path)) for kind, path in account.items()}
    sandbox.configure(unknown_fields=True)
    for kind, path in account.items():
        document = api.get(path)
        assert document["meta"]["agent_hints"]["next_steps"], kind
        novel = dict(first(document)["attributes"])
        assert novel.pop("brand_new") == {"since": 2027}, kind
        before = known[kind]["attributes"]
        assert novel.keys() == before.keys()
        [changed] = [name for name, value in novel.items() if value != before[name]]
        assert not isinstance(novel[changed], type(before[changed])), kind
        assert {**first(document), "attributes": before} == known[kind]
    sandbox.configure(unknown_fields=False)
    assert {kind: first(api.get(path)) for kind, path in account.items()} == known


def test_included_resources_and_counts_are_novel_too(
    api: Any, make: Any, sandbox: Sandbox, account: dict[str, str]
) -> None:
    sandbox.configure(unknown_fields=True)
    document = api.get("/api/events", include="metric,profile")
    assert [one["type"] for one in document["included"]] == ["metric", "profile"]
    assert all("brand_new" in one["attributes"] for one in document["included"])
    metric = document["included"][0]["id"]
    span = ("2027-01-01T00:00:00", "2027-02-01T00:00:00")
    counts = api.post("/api/metric-aggregates", make.aggregate(metric, *span)).json()
    assert counts["data"]["attributes"].keys() == {"dates", "data", "brand_new"}


def test_references_and_empty_answers_stay_as_they_are(
    api: Any, make: Any, sandbox: Sandbox, account: dict[str, str]
) -> None:
    sandbox.configure(unknown_fields=True)
    members = api.get(f"{account['segment']}/relationships/profiles")["data"]
    assert [set(one) for one in members] == [{"type", "id"}]
    assert api.post("/api/events", make.event("ada@shop.io", unique_id="2")).content == b""
    assert sandbox.create_list("More")


def test_the_switch_is_turned_by_http(api: Any, sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/sandbox/settings"
    answer = requests.post(url, json={"unknown_fields": True}, timeout=30)
    assert answer.json()["unknown_fields"] is True
    assert "agent_hints" in api.get("/api/profiles")["meta"]
