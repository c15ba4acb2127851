"""Requests and answers of a tour through every operation conform to Klaviyo's OpenAPI.

Two known departures, both as recorded from the real service: the links `next` and `prev` are
null where the document says string, and errors carry more members than it declares.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, get_args

import pytest
import requests
from jsonschema import Draft202012Validator

import openapi
from klaviyo_relay_worker.sandbox import Sandbox, checks
from klaviyo_relay_worker.sandbox.consents import Reason
from klaviyo_relay_worker.sandbox.routes import OPERATIONS, find

pytestmark = openapi.needed

LEFT_OUT = {
    "GET /api/segments": {"burst": "75/s", "steady": "750/m"},
    "GET /api/segments/{id}": {"burst": "75/s", "steady": "750/m"},
    "GET /api/profiles/{id}/relationships/segments": {"burst": "3/s", "steady": "60/m"},
}
"""Operations that the part of the document kept here may leave out, with their limits.

Their answers are seen by the SDK's strict types in test_sandbox_sdk.py instead.
"""


class Exchange(NamedTuple):
    """A request and its answer."""

    endpoint: str
    body: Any
    status: int
    answer: Any


def converted(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema has it; a nullable enum also allows null."""
    if isinstance(schema, list):
        return [converted(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: converted(one) for name, one in schema.items() if name != "nullable"}
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made


def closed(schema: Any) -> Any:
    """The same schema without room for undeclared members, for requests."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(one) for name, one in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Klaviyo's OpenAPI document."""
    found: dict[str, Any] = openapi.document()
    return found


@pytest.fixture
def exchanges(api: Any, sandbox: Sandbox, clock: Any, make: Any) -> list[Exchange]:
    """Every exchange of a tour, noted as it happens."""
    noted: list[Exchange] = []

    def note(answer: requests.Response, *_: Any, **__: Any) -> None:
        request = answer.request
        assert request.method is not None
        path = request.path_url.partition("?")[0]
        body = json.loads(request.body) if request.body else None
        answered = answer.json() if answer.content else None
        endpoint = find(request.method, path).operation.endpoint
        noted.append(Exchange(endpoint, body, answer.status_code, answered))

    api.session.hooks["response"].append(note)
    tour(api, sandbox, make, clock)
    assert sandbox.summary()["events"] == 2
    return noted


def tour(api: Any, sandbox: Sandbox, make: Any, clock: Any) -> None:
    """Call every operation at least once, with bodies that fill every member."""
    everything = {"additional-fields[profile]": "subscriptions,predictive_analytics"}
    full = {
        "email": "ada@shop.io",
        "phone_number": "+4915112345678",
        "external_id": "1",
        "first_name": "Ada",
        "title": None,
        "location": {"city": "London", "latitude": "51.5", "longitude": -0.1, "zip": None},
        "properties": {"plan": "pro", "tags": ["a"]},
    }
    patches = {"append": {"tags": ["b"]}, "unappend": {"tags": "a"}, "unset": "plan"}
    meta = {"patch_properties": patches, "patch_identifiers": {"append": {"email": ["b@c.io"]}}}
    ada = api.post("/api/profiles", {"data": make.profile(**full)}).json()["data"]["id"]
    imported = {"data": make.profile(meta=meta, **full)}
    api.call("POST", "/api/profile-import", imported, params=everything)
    api.call("PATCH", f"/api/profiles/{ada}", {"data": make.profile(id=ada, title="Countess")})
    profile = {"data": make.profile(**full, anonymous_id="cookie")}
    order = {
        "properties": {"items": [{"sku": "x"}]},
        "time": "2026-11-22T10:00:00Z",
        "value": 9.99,
        "value_currency": "EUR",
        "unique_id": "1",
        "backfill": True,
        "profile": profile,
    }
    api.post("/api/events", make.event(**order))
    bulk = dict(order, unique_id="2", profile=profile["data"])
    api.post("/api/event-bulk-create-jobs", make.bulk(make.entry(**bulk)))
    tour_lists(api, make, clock, ada)
    tour_segments(api, sandbox, ada)
    tour_consent(api, make)
    event = api.get("/api/events", include="metric,profile")["data"][0]
    api.get("/api/events", **{"page[size]": 1})
    api.get(f"/api/events/{event['id']}", include="metric")
    api.get(f"/api/events/{event['id']}/metric")
    api.get(f"/api/events/{event['id']}/profile", **everything)
    metric = api.get("/api/metrics")["data"][0]["id"]
    api.get(f"/api/metrics/{metric}")
    tour_aggregates(api, make, metric)
    for reason in get_args(Reason):
        sandbox.suppress(ada, reason)
        sandbox.suppress(ada, reason, sandbox.create_list(reason))
    api.get("/api/profiles", **everything)
    api.get(f"/api/profiles/{ada}", **everything)
    api.get(f"/api/profiles/{ada}/lists")
    api.get(f"/api/profiles/{ada}/relationships/lists")
    api.post("/api/events", make.event(colour="red"))
    api.call("GET", "/api/profiles/01NOBODY")
    doomed = api.post("/api/profile-import", {"data": make.profile(email="gone@shop.io")})
    assert doomed.status_code == 201
    api.post("/api/data-privacy-deletion-jobs", make.deletion(email="gone@shop.io"))


def tour_aggregates(api: Any, make: Any, metric: str) -> None:
    """Count the orders, with every member that has no fault in it."""
    counts = ["count", "sum_value", "unique"]
    more = {"interval": "hour", "by": ["URL", "$value_currency"], "timezone": "Europe/Berlin"}
    paged = {"page_size": 500, "page_cursor": "", "return_fields": ["count"]}
    span = ("2026-11-22T00:00:00", "2026-11-23T00:00:00")
    body = make.aggregate(metric, *span, 'equals(URL,"")', measurements=counts, **more, **paged)
    [row] = api.post("/api/metric-aggregates", body).json()["data"]["attributes"]["data"]
    assert sum(row["measurements"]["count"]) == 2


def tour_lists(api: Any, make: Any, clock: Any, ada: str) -> None:
    """Call the operations on lists and imports."""
    body = make.new_list("News", opt_in_process="single_opt_in")
    news = api.post("/api/lists", body).json()["data"]["id"]
    old = api.post("/api/lists", make.new_list("Old")).json()["data"]["id"]
    renamed = make.new_list("Older")
    renamed["data"]["id"] = old
    api.call("PATCH", f"/api/lists/{old}", renamed)
    api.get("/api/lists")
    api.get(f"/api/lists/{news}", **{"additional-fields[list]": "profile_count"})
    api.call("DELETE", f"/api/lists/{old}")
    members = f"/api/lists/{news}/relationships/profiles"
    api.post(members, make.members(ada))
    api.get(members)
    api.get(f"/api/lists/{news}/profiles", **{"additional-fields[profile]": "subscriptions"})
    api.call("DELETE", members, make.members(ada))
    tour_imports(api, make, clock, news)


def tour_segments(api: Any, sandbox: Sandbox, ada: str) -> None:
    """Call the operations on segments."""
    buyers = sandbox.create_segment("Buyers", ada)
    everything = {"additional-fields[profile]": "subscriptions,predictive_analytics"}
    assert api.get("/api/segments")["data"]
    api.get(f"/api/segments/{buyers}", **{"additional-fields[segment]": "profile_count"})
    assert api.get(f"/api/segments/{buyers}/profiles", **everything)["data"]
    assert api.get(f"/api/segments/{buyers}/relationships/profiles")["data"]
    assert api.get(f"/api/profiles/{ada}/segments")["data"]
    assert api.get(f"/api/profiles/{ada}/relationships/segments")["data"]


def tour_imports(api: Any, make: Any, clock: Any, news: str) -> None:
    """Call the operations on imports, with a row that fails."""
    other = make.profile(phone_number="+4915187654321")
    assert api.post("/api/profile-import", {"data": other}).status_code == 201
    conflict = make.profile(email="ada@shop.io", phone_number="+4915187654321")
    rows = make.import_job(make.profile(email="bob@shop.io"), conflict, lists=(news,))
    job = api.post("/api/profile-bulk-import-jobs", rows).json()["data"]["id"]
    clock.turn(1)
    api.get("/api/profile-bulk-import-jobs")
    for part in ("", "/import-errors", "/lists", "/relationships/lists", "/relationships/profiles"):
        assert api.get(f"/api/profile-bulk-import-jobs/{job}{part}")["data"]


def tour_consent(api: Any, make: Any) -> None:
    """Call the operations on consent, every channel at once."""
    news = api.get("/api/lists")["data"][0]["id"]
    given, taken = {"consent": "SUBSCRIBED"}, {"consent": "UNSUBSCRIBED"}
    dated = {**given, "consented_at": "2020-01-01T00:00:00Z"}
    token = {"token": "abc", "platform": "ios", "vendor": "apns"}
    joins = {
        "email": {"marketing": dated, "open_tracking": given},
        "sms": {"marketing": dated, "transactional": dated},
        "whatsapp": {"marketing": dated, "transactional": dated},
        "push": {"marketing": dated, "tokens": [token], "anonymous_id": None},
    }
    leaves = {
        "email": {"marketing": taken, "open_tracking": taken},
        "sms": {"marketing": taken, "transactional": taken},
        "whatsapp": {"marketing": taken, "transactional": taken, "conversational": taken},
        "push": {"marketing": taken, "tokens": [token]},
    }
    person = {"email": "ada@shop.io", "phone_number": "+4915112345678"}
    joining = make.profile(**person, subscriptions=joins, age_gated_date_of_birth="1990-01-01")
    leaving = make.profile(**person, subscriptions=leaves)
    path = "/api/profile-subscription-bulk-{}-jobs"
    more = {"historical_import": True, "custom_source": "Shop"}
    subscribe = make.consent_job("create", joining, on=news, **more)
    assert api.post(path.format("create"), subscribe).status_code == 202
    unsubscribe = make.consent_job("delete", leaving, on=news)
    assert api.post(path.format("delete"), unsubscribe).status_code == 202
    for kind in ("create", "delete"):
        path = f"/api/profile-suppression-bulk-{kind}-jobs"
        job = api.post(path, make.suppression_job(kind, "ada@shop.io")).json()["data"]["id"]
        api.get(f"{path}/{job}")


def operation_in(document: dict[str, Any], endpoint: str) -> dict[str, Any]:
    """What the document says about an endpoint; its variables are named `id` or `job_id`."""
    method, _, path = endpoint.partition(" ")
    paths = document["paths"]
    if path not in paths and endpoint in LEFT_OUT:
        return {"x-klaviyo-ratelimit": LEFT_OUT[endpoint]}
    found = paths.get(path) or paths[path.replace("{id}", "{job_id}")]
    described: dict[str, Any] = found[method.lower()]
    return described


def faults_in(schema: Any, components: Any, value: Any) -> list[str]:
    """What is wrong with a value, and where."""
    validator = Draft202012Validator({**schema, "components": components})
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]


def without_null_links(answer: Any) -> Any:
    """The answer without the links that are null."""
    if "links" not in answer:
        return answer
    links = {name: link for name, link in answer["links"].items() if link is not None}
    return {**answer, "links": links}


def test_the_tour_calls_every_operation(exchanges: list[Exchange]) -> None:
    """Otherwise the other tests here would say less than they seem to."""
    assert {one.endpoint for one in exchanges} == {one.endpoint for one in OPERATIONS}


def test_every_request_conforms(document: dict[str, Any], exchanges: list[Exchange]) -> None:
    """Each body that was accepted has only declared members of the declared types."""
    components = closed(converted(document["components"]))
    checked = 0
    for one in exchanges:
        if one.body is None or one.status >= 400:
            continue
        content = operation_in(document, one.endpoint)["requestBody"]["content"]
        schema = converted(content["application/vnd.api+json"]["schema"])
        assert faults_in(schema, components, one.body) == [], one.endpoint
        checked += 1
    assert checked > 15


def test_every_answer_conforms(document: dict[str, Any], exchanges: list[Exchange]) -> None:
    """Each status is declared, and its body has the required members of the declared types."""
    components = converted(document["components"])
    for one in exchanges:
        answers = operation_in(document, one.endpoint).get("responses")
        if answers is None:
            continue
        described = answers["4XX" if one.status >= 400 else str(one.status)]
        if "$ref" in described:
            described = document["components"]["responses"][described["$ref"].split("/")[-1]]
        if "content" not in described:
            assert one.answer is None, one.endpoint
            continue
        schema = converted(described["content"]["application/vnd.api+json"]["schema"])
        answer = without_null_links(one.answer)
        assert faults_in(schema, components, answer) == [], one.endpoint


def test_every_rate_limit_is_the_documented_one(document: dict[str, Any]) -> None:
    """The tiers of the routes are those of the document."""
    for one in OPERATIONS:
        tier = {"burst": f"{one.tier.burst}/s", "steady": f"{one.tier.steady}/m"}
        if one.tier.daily is not None:
            tier["daily"] = f"{one.tier.daily}/d"
        assert operation_in(document, one.endpoint)["x-klaviyo-ratelimit"] == tier, one.endpoint


def test_every_maximum_is_the_documented_one(document: dict[str, Any]) -> None:
    """So are the sizes of requests and of their parts."""
    for endpoint, items in (
        ("POST /api/event-bulk-create-jobs", checks.MAX_EVENTS),
        ("POST /api/profile-bulk-import-jobs", checks.MAX_IMPORT_ROWS),
        ("POST /api/lists/{id}/relationships/profiles", checks.MAX_MEMBERS),
        ("POST /api/profile-subscription-bulk-create-jobs", checks.MAX_SUBSCRIBERS),
        ("POST /api/profile-subscription-bulk-delete-jobs", checks.MAX_UNSUBSCRIBERS),
        ("POST /api/profile-suppression-bulk-create-jobs", checks.MAX_SUPPRESSED),
    ):
        assert operation_in(document, endpoint)["x-limits"]["max_items"] == items
    limits = operation_in(document, "POST /api/events")["x-limits"]
    assert limits["max_payload_bytes"] == checks.MAX_BODY_BYTES
    imports = operation_in(document, "POST /api/profile-import")["x-limits"]
    assert imports["max_payload_bytes"] == checks.MAX_PROFILE_BYTES
