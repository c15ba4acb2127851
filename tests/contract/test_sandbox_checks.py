"""The sandbox refuses what Klaviyo refuses in a body, and takes what lies at the limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from klaviyo_relay_worker.sandbox import Sandbox

BULK = "/api/event-bulk-create-jobs"
IMPORTS = "/api/profile-bulk-import-jobs"
SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"
UNSUBSCRIBE = "/api/profile-subscription-bulk-delete-jobs"
SUPPRESS = "/api/profile-suppression-bulk-create-jobs"
ENTRIES = "/data/attributes/events-bulk-create/data"
ROWS = "/data/attributes/profiles/data"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"time": 1_700_000_000}, "/time"),
        ({"time": "1700000000"}, "/time"),
        ({"time": "20261122T100000Z"}, "/time"),
        ({"time": "1989-12-31T23:59:59Z"}, "/time"),
        ({"time": "2028-01-16T08:00:01Z"}, "/time"),
        ({"name": "x" * 128}, "/metric/data/attributes/name"),
        ({"unique_id": ""}, "/unique_id"),
        ({"unique_id": "x" * 256}, "/unique_id"),
        ({"value": "9.99"}, "/value"),
        ({"value_currency": "Euro"}, "/value_currency"),
        ({"properties": None}, "/properties"),
        ({"properties": {f"p{n}": n for n in range(401)}}, "/properties"),
        ({"properties": {"text": "x" * 100_001}}, "/properties/text"),
        ({"properties": {"text": "é" * 50_001}}, "/properties/text"),
        ({"properties": {"list": [0] * 4001}}, "/properties/list"),
        ({"properties": {"number": 2**63}}, "/properties/number"),
    ],
)
def test_an_event_beyond_the_limits_is_refused(
    api: Any, make: Any, change: dict[str, Any], pointer: str
) -> None:
    """Times, names, values and properties have limits, and the pointer names the culprit."""
    assert api.pointers("/api/events", make.event(**change)) == ["/data/attributes" + pointer]


def test_text_that_cannot_be_decoded_is_refused(api: Any, make: Any) -> None:
    """Half a character, another encoding, and objects beyond what a parser can follow."""
    assert api.pointers("/api/events", make.event(properties={"half": "\ud800"})) == [""]
    latin = json.dumps(make.event(properties={"city": "Köln"}), ensure_ascii=False)
    answer = api.call("POST", "/api/events", data=latin.encode("latin-1"))
    pointer = answer.json()["errors"][0]["source"]["pointer"]
    assert (answer.status_code, pointer) == (400, "/data/attributes/properties")
    assert api.call("POST", "/api/events", data=latin.encode()).status_code == 202
    deep = json.dumps({"data": make.profile(email="ada@shop.io", properties="DEEP")})
    body = deep.replace('"DEEP"', '{"a":' * 5000 + "1" + "}" * 5000)
    assert api.call("POST", "/api/profile-import", data=body).status_code == 400


def test_an_event_at_the_limits_is_taken(api: Any, make: Any, sandbox: Sandbox) -> None:
    """The limits themselves are allowed."""
    properties = {f"p{n}": n for n in range(398)}
    properties |= {"text": "x" * 100_000, "list": [0] * 4000}
    body = make.event(
        time="2028-01-15T08:00:00Z", name="x" * 127, unique_id="x" * 255, properties=properties
    )
    assert api.post("/api/events", body).status_code == 202
    assert sandbox.summary()["events"] == 1


def test_objects_nest_ten_deep_and_no_deeper(api: Any, make: Any) -> None:
    """The properties themselves are the first of ten."""
    nested: Any = {}
    for _ in range(9):
        nested = {"in": nested}
    assert api.post("/api/events", make.event(properties=nested)).status_code == 202
    deeper = make.event(properties={"in": nested})
    assert api.pointers("/api/events", deeper) == ["/data/attributes/properties/in"]


@pytest.mark.parametrize("missing", ["properties", "metric", "profile"])
def test_required_members_are_required(api: Any, make: Any, missing: str) -> None:
    """An event without one of them is refused, with a pointer to it."""
    body = make.event()
    del body["data"]["attributes"][missing]
    assert api.pointers("/api/events", body) == [f"/data/attributes/{missing}"]


@pytest.mark.parametrize("email", ["ada", "ada@shop", "a b@shop.io", "x" * 93 + "@shop.io"])
def test_a_bad_email_is_refused(api: Any, make: Any, email: str) -> None:
    """Malformed or longer than 100 characters."""
    pointer = "/data/attributes/profile/data/attributes/email"
    assert api.pointers("/api/events", make.event(email)) == [pointer]


def test_a_bad_phone_is_refused_alone_and_forgiven_beside_an_email(api: Any, make: Any) -> None:
    """In an event an invalid phone next to a valid email is left out without a word."""
    alone = make.event(profile={"data": make.profile(phone_number="0155")})
    pointer = "/data/attributes/profile/data/attributes/phone_number"
    assert api.pointers("/api/events", alone) == [pointer]
    both = make.event(profile={"data": make.profile(email="ada@shop.io", phone_number="0155")})
    assert api.post("/api/events", both).status_code == 202
    assert api.profile_of("ada@shop.io")["attributes"]["phone_number"] is None


def test_an_event_needs_someone(api: Any, make: Any) -> None:
    """A profile without any identifier is refused."""
    body = make.event(profile={"data": make.profile(first_name="Ada")})
    assert api.pointers("/api/events", body) == ["/data/attributes/profile/data/attributes"]


def test_meta_of_an_event_moves_with_the_revision(api: Any, make: Any) -> None:
    """Among the attributes up to 2026-07-15, beside them from 2026-10-15 on."""
    meta = {"patch_properties": {"append": {"tags": "vip"}}}
    inside = make.event(profile={"data": make.profile(email="ada@shop.io", meta=None)})
    inside["data"]["attributes"]["profile"]["data"]["attributes"]["meta"] = meta
    beside = make.event(profile={"data": make.profile(email="ada@shop.io")})
    beside["data"]["attributes"]["profile"]["data"]["meta"] = meta
    newer = {"revision": "2026-10-15"}
    assert api.post("/api/events", inside).status_code == 202
    assert api.post("/api/events", beside).status_code == 400
    assert api.post("/api/events", beside, headers=newer).status_code == 202
    assert api.post("/api/events", inside, headers=newer).status_code == 400
    assert api.profile_of("ada@shop.io")["attributes"]["properties"] == {"tags": ["vip"]}


def test_more_items_than_a_call_may_carry_are_refused(api: Any, make: Any) -> None:
    """Every bulk operation has its own maximum, and an empty list is no request either."""
    subscribers = [make.subscriber(f"a{n}@shop.io") for n in range(1001)]
    unsubscribers = [make.unsubscriber(f"a{n}@shop.io") for n in range(101)]
    emails = [f"a{n}@shop.io" for n in range(101)]
    rows = [make.profile(email=f"a{n}@shop.io") for n in range(10_001)]
    entries = [make.entry(f"a{n}@shop.io") for n in range(1001)]
    assert api.pointers(BULK, make.bulk(*entries)) == [ENTRIES]
    assert api.pointers(BULK, make.bulk()) == [ENTRIES]
    assert api.pointers(IMPORTS, make.import_job(*rows)) == [ROWS]
    assert api.pointers(SUBSCRIBE, make.consent_job("create", *subscribers)) == [ROWS]
    assert api.pointers(UNSUBSCRIBE, make.consent_job("delete", *unsubscribers)) == [ROWS]
    assert api.pointers(SUPPRESS, make.suppression_job("create", *emails)) == [ROWS]
