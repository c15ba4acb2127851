"""Klaviyo's rules and traps, and the faults on demand, each over real HTTP."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox

BULK = "/api/event-bulk-create-jobs"
IMPORTS = "/api/profile-bulk-import-jobs"
SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"
UNSUBSCRIBE = "/api/profile-subscription-bulk-delete-jobs"
SUPPRESS = "/api/profile-suppression-bulk-create-jobs"
UNSUPPRESS = "/api/profile-suppression-bulk-delete-jobs"
ENTRIES = "/data/attributes/events-bulk-create/data"
ROWS = "/data/attributes/profiles/data"


def profile_of(api: Any, email: str) -> dict[str, Any]:
    """The one profile with this email, with its subscriptions."""
    found = api.get(
        "/api/profiles",
        **{"filter": f'equals(email,"{email}")', "additional-fields[profile]": "subscriptions"},
    )
    assert len(found["data"]) == 1
    return found["data"][0]


@contextmanager
def connection(api: Any) -> Iterator[http.client.HTTPConnection]:
    """A connection that is never opened anew behind one's back."""
    made = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=10)
    made.connect()
    made.auto_open = 0
    try:
        yield made
    finally:
        made.close()


def exchange(kept: http.client.HTTPConnection, api: Any, body: bytes) -> tuple[int, bytes]:
    """Post to /api/events on a given connection; status and body of the answer."""
    known = {str(name): str(value) for name, value in api.session.headers.items()}
    kept.request("POST", "/api/events", body, known)
    answer = kept.getresponse()
    return answer.status, answer.read()


def marketing(api: Any, email: str) -> dict[str, Any]:
    """The email marketing consent of a profile."""
    return profile_of(api, email)["attributes"]["subscriptions"]["email"]["marketing"]


# --- protocol ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "pk_test", "Klaviyo-API-Key sk_test", "Bearer "])
def test_a_missing_or_odd_key_is_refused(api: Any, make: Any, key: str | None) -> None:
    """Only `Klaviyo-API-Key pk_…` and `Bearer …` are keys; all else is 401."""
    answer = api.post("/api/events", make.event(), headers={"Authorization": key})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "authentication_failed"


def test_a_missing_revision_is_refused(api: Any, make: Any) -> None:
    """Every operation needs the revision header."""
    answer = api.post("/api/events", make.event(), headers={"revision": None})
    assert answer.status_code == 400


def test_another_media_type_or_encoding_is_refused(api: Any, make: Any) -> None:
    """Form data and compressed bodies are 415."""
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
        assert api.post("/api/events", make.event(), headers=headers).status_code == 415


def test_unknown_paths_and_methods_are_told_apart(api: Any) -> None:
    """A path that does not exist is 404, a method that it does not take 405."""
    assert api.call("GET", "/api/nothing").status_code == 404
    assert api.call("DELETE", "/api/events").status_code == 405


def test_a_slash_at_the_end_changes_nothing(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Older clients send one."""
    assert api.post("/api/events/", make.event()).status_code == 202
    assert sandbox.summary()["requests"] == {"POST /api/events": {"202": 1}}


def test_a_body_over_five_megabytes_is_refused(api: Any, make: Any) -> None:
    """5,000,001 bytes are 413, and the connection can be used afterwards."""
    body = json.dumps(make.event()).encode().ljust(5_000_001)
    with connection(api) as kept:
        assert exchange(kept, api, body)[0] == 413
        assert exchange(kept, api, body[:5_000_000])[0] == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":' * 5000])
def test_a_broken_body_is_refused(api: Any, body: bytes) -> None:
    """What is no JSON object is 400."""
    answer = api.call("POST", "/api/events", data=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "invalid"


def test_what_is_no_http_is_refused(api: Any) -> None:
    """Chunked bodies are 411, odd lengths too, and nonsense is 400; then the line is cut."""
    for sent, status in (
        (b"POST /api/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /api/events HTTP/1.1\r\nContent-Length: many\r\n\r\n", 411),
        (b"POST /api/events HTTP/1.1\r\nnonsense\r\n\r\n", 400),
        (b"hello\r\n", 400),
    ):
        with connection(api) as kept:
            kept.sock.sendall(sent)
            answer = http.client.HTTPResponse(kept.sock)
            answer.begin()
            assert (answer.status, answer.getheader("Connection")) == (status, "close")


def test_a_client_that_awaits_a_hundred_gets_it(api: Any) -> None:
    """As curl does before it sends a large body."""
    with connection(api) as kept:
        head = "GET /api/lists HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        kept.sock.sendall(head.encode())
        assert kept.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        kept.sock.sendall(b"x")
        assert kept.sock.recv(100).startswith(b"HTTP/1.1 401 ")


def test_accepted_events_have_an_empty_answer(api: Any, make: Any) -> None:
    """202 comes without a body and without a content type."""
    for path, body in (("/api/events", make.event()), (BULK, make.bulk(make.entry()))):
        answer = api.post(path, body)
        assert (answer.status_code, answer.content) == (202, b"")
        assert "Content-Type" not in answer.headers


def test_an_error_has_klaviyos_shape(api: Any, make: Any) -> None:
    """Each error has id, status, code, title, detail, source, links and meta."""
    error = api.post("/api/events", make.event(colour="red")).json()["errors"][0]
    assert set(error) == {"id", "status", "code", "title", "detail", "source", "links", "meta"}
    assert (error["status"], error["code"]) == (400, "invalid")
    assert error["detail"] == "'colour' is not a valid field."
    assert error["source"] == {"pointer": "/data/attributes/colour"}


# --- checks -----------------------------------------------------------------------------


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
    assert profile_of(api, "ada@shop.io")["attributes"]["phone_number"] is None


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
    assert profile_of(api, "ada@shop.io")["attributes"]["properties"] == {"tags": ["vip"]}


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


# --- events -----------------------------------------------------------------------------


def test_a_thousand_events_go_in_one_request(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Exactly the maximum is taken."""
    entries = [make.entry(f"a{n}@shop.io", unique_id=str(n)) for n in range(1000)]
    assert api.post(BULK, make.bulk(*entries)).status_code == 202
    assert sandbox.summary()["events"] == 1000
    assert sandbox.requests()[-1]["items"] == 1000


def test_a_repeated_unique_id_is_taken_and_discarded(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Across requests the first one counts, and both answers are 202."""
    for path, body in (
        ("/api/events", make.event(unique_id="1", value=1)),
        ("/api/events", make.event(unique_id="1", value=2)),
        (BULK, make.bulk(make.entry(unique_id="1", value=3))),
    ):
        assert api.post(path, body).status_code == 202
    assert sandbox.summary()["events"] == 1
    assert sandbox.summary()["duplicates_discarded"] == 2
    assert sandbox.events()[0]["value"] == 1


def test_a_unique_id_counts_for_its_profile_and_metric(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """The same one is free for another person and for another metric."""
    entries = [
        make.entry("ada@shop.io", unique_id="1"),
        make.entry("bob@shop.io", unique_id="1"),
        make.entry("ada@shop.io", unique_id="1", name="Viewed"),
    ]
    assert api.post(BULK, make.bulk(*entries)).status_code == 202
    assert sandbox.summary()["events"] == 3


def test_a_repeat_inside_a_bulk_request_fails_all_of_it(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """Even when the repeat names the same person by another identifier."""
    known = make.profile(email="ada@shop.io", phone_number="+4915112345678")
    api.post("/api/profile-import", {"data": known})
    by_phone = make.profile(phone_number="+4915112345678")
    entries = [
        make.entry("bob@shop.io", unique_id="1"),
        make.entry("ada@shop.io", unique_id="1"),
        make.entry(profile=by_phone, unique_id="1"),
    ]
    pointer = f"{ENTRIES}/2/attributes/events/data/0/attributes/unique_id"
    assert api.pointers(BULK, make.bulk(*entries)) == [pointer]
    assert sandbox.summary()["events"] == 0


def test_repeats_of_earlier_requests_can_be_made_to_fail(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """With `repeats="refuse"` a bulk request fails as a whole, a single one still does not."""
    sandbox.configure(repeats="refuse")
    assert api.post("/api/events", make.event(unique_id="1")).status_code == 202
    again = make.bulk(make.entry("bob@shop.io", unique_id="1"), make.entry(unique_id="1"))
    pointer = f"{ENTRIES}/1/attributes/events/data/0/attributes/unique_id"
    assert api.pointers(BULK, again) == [pointer]
    assert api.post("/api/events", make.event(unique_id="1")).status_code == 202
    assert sandbox.summary()["events"] == 1


def test_without_a_unique_id_one_event_a_second_survives(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """The time cut to seconds takes the place of the unique_id."""
    for time in ("2026-11-22T10:00:00.1Z", "2026-11-22T10:00:00.9Z", "2026-11-22T10:00:01Z"):
        assert api.post("/api/events", make.event(time=time)).status_code == 202
    assert [event["datetime"] for event in sandbox.events()] == [
        "2026-11-22T10:00:00+00:00",
        "2026-11-22T10:00:01+00:00",
    ]
    assert sandbox.summary()["duplicates_discarded"] == 1


def test_an_event_without_a_time_happened_on_receipt(
    api: Any, make: Any, sandbox: Sandbox, clock: Any
) -> None:
    """The clock of the sandbox gives the time."""
    api.post("/api/events", make.event())
    assert sandbox.events()[0]["time"] == int(clock.now)


@pytest.mark.parametrize("email", ["ada@example.com", "Ada@Test.com"])
def test_events_of_test_addresses_vanish_silently(
    api: Any, make: Any, sandbox: Sandbox, email: str
) -> None:
    """202, and nothing is recorded."""
    assert api.post("/api/events", make.event(email)).status_code == 202
    assert api.post(BULK, make.bulk(make.entry(email))).status_code == 202
    assert sandbox.summary()["silently_dropped"] == 2
    assert (sandbox.summary()["events"], sandbox.summary()["profiles"]) == (0, 0)


def test_one_bad_item_fails_a_bulk_request_and_all_bad_ones_are_named(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """One error for each bad item, none for the good ones, nothing recorded."""
    entries = [
        make.entry("ada@shop.io", unique_id="1"),
        make.entry("broken"),
        make.entry("bob@shop.io", time="yesterday"),
        make.entry("cyd@shop.io", colour="red"),
    ]
    assert api.pointers(BULK, make.bulk(*entries)) == [
        f"{ENTRIES}/1/attributes/profile/data/attributes/email",
        f"{ENTRIES}/2/attributes/events/data/0/attributes/time",
        f"{ENTRIES}/3/attributes/events/data/0/attributes/colour",
    ]
    assert sandbox.summary()["events"] == 0
    assert sandbox.summary()["refused"] == 1


def test_an_event_of_a_stranger_makes_a_profile(api: Any, make: Any, sandbox: Sandbox) -> None:
    """What the event says about the person is kept."""
    person = make.profile(email="Ada@Shop.io", first_name="Ada", properties={"plan": "pro"})
    api.post("/api/events", make.event(profile={"data": person}))
    [profile] = sandbox.profiles()
    assert (profile["email"], profile["first_name"]) == ("ada@shop.io", "Ada")
    assert profile["properties"] == {"plan": "pro"}


def test_an_anonymous_person_becomes_the_known_one(api: Any, make: Any, sandbox: Sandbox) -> None:
    """When an event names an anonymous_id and an email, the two profiles become one."""
    nameless = make.profile(anonymous_id="cookie")
    api.post("/api/events", make.event(profile={"data": nameless}, unique_id="1"))
    api.post("/api/events", make.event("ada@shop.io", unique_id="2"))
    both = make.profile(anonymous_id="cookie", email="ada@shop.io")
    api.post("/api/events", make.event(profile={"data": both}, unique_id="3"))
    [profile] = sandbox.profiles()
    assert {event["profile_id"] for event in sandbox.events()} == {profile["id"]}
    assert sandbox.summary()["events"] == 3


def test_an_external_id_beside_an_email_finds_nobody(api: Any, make: Any, sandbox: Sandbox) -> None:
    """It takes no part in merging, so that it can make duplicates; alone it finds its owner."""
    api.post("/api/profile-import", {"data": make.profile(email="a@shop.io", external_id="1")})
    api.post("/api/events", make.event(profile={"data": make.profile(external_id="1")}))
    assert sandbox.summary()["profiles"] == 1
    api.post("/api/profile-import", {"data": make.profile(email="b@shop.io", external_id="1")})
    assert sandbox.summary()["profiles"] == 2


def test_events_are_read_back_with_their_metric(api: Any, make: Any) -> None:
    """unique_id, value and currency are properties with a dollar sign; names are included."""
    order = {"unique_id": "1", "value": 9.5, "value_currency": "EUR", "properties": {"a": 1}}
    api.post("/api/events", make.event(**order))
    found = api.get("/api/events", include="metric,profile")
    [event] = found["data"]
    assert event["attributes"]["event_properties"] == {
        "a": 1,
        "$event_id": "1",
        "$value": 9.5,
        "$value_currency": "EUR",
    }
    assert [one["type"] for one in found["included"]] == ["metric", "profile"]
    assert found["included"][0]["attributes"]["name"] == "Placed Order"
    assert api.get(f"/api/events/{event['id']}")["data"] == event
    assert api.call("GET", "/api/events/NOPE01").status_code == 400


def test_an_event_leads_to_its_metric_and_its_profile(api: Any, make: Any) -> None:
    """Of an unknown event neither is found, and an id of another form is invalid, as recorded."""
    api.post("/api/events", make.event("bob@shop.io", name="Viewed"))
    api.post("/api/events", make.event("ada@shop.io", name="Bought"))
    for event in api.get("/api/events", include="metric,profile")["data"]:
        for name in ("metric", "profile"):
            related = event["relationships"][name]
            found = api.session.get(related["links"]["related"]).json()["data"]
            assert found["id"] == related["data"]["id"]
            assert api.get(f"/api/{name}s/{found['id']}")["data"] == found
    for name in ("metric", "profile"):
        assert api.call("GET", f"/api/events/4zzzzzzzzzz/{name}").status_code == 404
        refused = api.call("GET", f"/api/events/NOPE01/{name}")
        assert refused.json()["errors"][0]["source"] == {"pointer": "/data/id"}
    sparse = {"fields[profile]": "email"}
    path = f"/api/events/{event['id']}/profile"
    assert list(api.get(path, **sparse)["data"]["attributes"]) == ["email"]


def test_events_are_filtered_and_paged(api: Any, make: Any) -> None:
    """By metric, profile and time; newest first; a cursor leads through all pages."""
    for minute in range(5):
        time = f"2026-11-22T10:0{minute}:00Z"
        api.post("/api/events", make.event("ada@shop.io", name="A", time=time))
        api.post("/api/events", make.event("bob@shop.io", name="B", time=time))
    ada = profile_of(api, "ada@shop.io")["id"]
    metrics = {one["attributes"]["name"]: one["id"] for one in api.get("/api/metrics")["data"]}
    times = "greater-or-equal(datetime,2026-11-22T10:01:00Z),less-than(timestamp,1795341840)"
    chosen = f'and(equals(profile_id,"{ada}"),equals(metric_id,"{metrics["A"]}"),{times})'
    page = api.get("/api/events", filter=chosen, **{"page[size]": 2})
    minutes = [one["attributes"]["datetime"][14:16] for one in page["data"]]
    last = api.session.get(page["links"]["next"]).json()
    assert minutes == ["03", "02"]
    assert [one["attributes"]["datetime"][14:16] for one in last["data"]] == ["01"]
    assert last["links"]["next"] is None


@pytest.mark.parametrize(
    ("path", "params", "parameter"),
    [
        ("/api/events", {"filter": 'equals(email,"a@b.io")'}, "filter"),
        ("/api/events", {"filter": 'any(profile_id,["a"])'}, "filter"),
        ("/api/events", {"filter": "equals(profile_id"}, "filter"),
        ("/api/events", {"filter": "less-than(datetime,soon)"}, "filter"),
        ("/api/lists", {"filter": 'equals(name,"x")'}, "filter"),
        ("/api/metrics", {"filter": 'equals(name,"x")'}, "filter"),
        ("/api/lists", {"page[size]": 11}, "page[size]"),
        ("/api/profiles", {"page[size]": 101}, "page[size]"),
        ("/api/events", {"page[size]": 1001}, "page[size]"),
        ("/api/metrics", {"page[size]": 10}, "page[size]"),
        ("/api/profiles", {"page[cursor]": "nonsense"}, "page[cursor]"),
        ("/api/profiles", {"sort": "age"}, "sort"),
    ],
)
def test_a_query_that_an_endpoint_does_not_take_is_refused(
    api: Any, path: str, params: dict[str, Any], parameter: str
) -> None:
    """400 with the name of the parameter."""
    answer = api.call("GET", path, params=params)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["source"] == {"parameter": parameter}


# --- profiles ---------------------------------------------------------------------------


def test_profile_import_creates_then_updates(api: Any, make: Any) -> None:
    """201 with the new profile, 200 with the changed one; absent fields stay."""
    first = {"data": make.profile(email="ada@shop.io", first_name="Ada", title="Dr")}
    second = {"data": make.profile(email="ADA@shop.io", first_name="Augusta")}
    created = api.post("/api/profile-import", first)
    updated = api.post("/api/profile-import", second)
    assert (created.status_code, updated.status_code) == (201, 200)
    assert created.json()["data"]["id"] == updated.json()["data"]["id"]
    attributes = updated.json()["data"]["attributes"]
    assert (attributes["first_name"], attributes["title"]) == ("Augusta", "Dr")


def test_null_clears_on_profile_import_and_patch(api: Any, make: Any) -> None:
    """Fields, places, properties and identifiers alike."""
    full = make.profile(
        email="ada@shop.io",
        external_id="1",
        title="Dr",
        location={"city": "London", "zip": "W1"},
        properties={"a": 1, "b": 2},
    )
    profile_id = api.post("/api/profile-import", {"data": full}).json()["data"]["id"]
    nulls = make.profile(
        email="ada@shop.io",
        external_id=None,
        title=None,
        location={"city": None},
        properties={"a": None},
    )
    attributes = api.post("/api/profile-import", {"data": nulls}).json()["data"]["attributes"]
    assert (attributes["external_id"], attributes["title"]) == (None, None)
    assert (attributes["location"]["city"], attributes["location"]["zip"]) == (None, "W1")
    assert attributes["properties"] == {"b": 2}
    patch = {"data": make.profile(id=profile_id, properties={"b": None})}
    answer = api.call("PATCH", f"/api/profiles/{profile_id}", patch)
    assert answer.json()["data"]["attributes"]["properties"] == {}


def test_null_does_nothing_in_a_bulk_import(
    api: Any, make: Any, sandbox: Sandbox, clock: Any
) -> None:
    """Where profile-import clears, the bulk import leaves alone."""
    full = make.profile(email="ada@shop.io", title="Dr", properties={"a": 1})
    api.post("/api/profile-import", {"data": full})
    nulls = make.profile(email="ada@shop.io", title=None, properties={"a": None, "b": 2})
    assert api.post(IMPORTS, make.import_job(nulls)).status_code == 202
    clock.turn(1)
    [profile] = sandbox.profiles()
    assert (profile["title"], profile["properties"]) == ("Dr", {"a": 1, "b": 2})


def test_properties_are_patched_one_by_one(api: Any, make: Any) -> None:
    """append makes lists and knows no twins, unappend takes out, unset removes."""
    base = make.profile(email="ada@shop.io", properties={"tags": "a", "old": 1, "gone": 2})
    api.post("/api/profile-import", {"data": base})
    changes = {
        "append": {"tags": ["a", "b"], "new": "x"},
        "unappend": {"missing": "x"},
        "unset": ["old", "gone"],
    }
    meta = {"patch_properties": changes}
    row = make.profile(email="ada@shop.io", meta=meta)
    attributes = api.post("/api/profile-import", {"data": row}).json()["data"]["attributes"]
    assert attributes["properties"] == {"tags": ["a", "b"], "new": ["x"]}
    meta = {"patch_properties": {"unappend": {"tags": "a"}, "unset": "new"}}
    row = make.profile(email="ada@shop.io", meta=meta)
    attributes = api.post("/api/profile-import", {"data": row}).json()["data"]["attributes"]
    assert attributes["properties"] == {"tags": ["b"]}


def test_unset_must_be_text(api: Any, make: Any) -> None:
    """A string or a list of strings, nothing else."""
    meta = {"patch_properties": {"unset": [1]}}
    body = {"data": make.profile(email="ada@shop.io", meta=meta)}
    pointer = "/data/meta/patch_properties/unset/0"
    assert api.pointers("/api/profile-import", body) == [pointer]


def test_an_email_and_a_phone_of_two_people_conflict(api: Any, make: Any) -> None:
    """409 with the id of the other profile, on import and on patch."""
    ada = {"data": make.profile(email="ada@shop.io")}
    bob = {"data": make.profile(phone_number="+4915112345678")}
    ada_id = api.post("/api/profile-import", ada).json()["data"]["id"]
    bob_id = api.post("/api/profile-import", bob).json()["data"]["id"]
    both = {"data": make.profile(email="ada@shop.io", phone_number="+4915112345678")}
    stolen = {"data": make.profile(id=ada_id, phone_number="+4915112345678")}
    for answer in (
        api.post("/api/profile-import", both),
        api.call("PATCH", f"/api/profiles/{ada_id}", stolen),
    ):
        assert answer.status_code == 409
        error = answer.json()["errors"][0]
        assert error["code"] == "duplicate_profile"
        assert error["meta"]["duplicate_profile_id"] == bob_id


def test_creating_a_known_profile_conflicts(api: Any, make: Any) -> None:
    """POST /api/profiles never updates; neither does it take an id."""
    body = {"data": make.profile(email="ada@shop.io")}
    created = api.post("/api/profiles", body)
    again = api.post("/api/profiles", body)
    assert (created.status_code, again.status_code) == (201, 409)
    known = again.json()["errors"][0]["meta"]["duplicate_profile_id"]
    assert known == created.json()["data"]["id"]
    assert api.pointers("/api/profiles", {"data": make.profile(id="x")}) == ["/data/id"]


def test_a_profile_over_100_kilobytes_is_refused(api: Any, make: Any) -> None:
    """As a request of its own it is 413, as a row of an import it is named."""
    large = make.profile(email="ada@shop.io", properties={"a": "x" * 60_000, "b": "x" * 60_000})
    assert api.post("/api/profile-import", {"data": large}).status_code == 413
    rows = make.import_job(make.profile(email="bob@shop.io"), large)
    assert api.pointers(IMPORTS, rows) == [f"{ROWS}/1"]


def test_profiles_are_found_by_their_identifiers(api: Any, make: Any) -> None:
    """With any() and equals(), alone or in a list; the unknown are left out."""
    ids = []
    for name in ("ada", "bob", "cyd"):
        row = make.profile(email=f"{name}@shop.io", external_id=name)
        ids.append(api.post("/api/profile-import", {"data": row}).json()["data"]["id"])
    for text, expected in (
        ('any(email,["ada@shop.io","CYD@shop.io","no@shop.io"])', [ids[0], ids[2]]),
        ('equals(external_id,"bob")', [ids[1]]),
        (f'any(id,["{ids[2]}","{ids[1]}"])', [ids[1], ids[2]]),
        ('equals(phone_number,"+4915112345678")', []),
    ):
        found = api.get("/api/profiles", filter=text, sort="email")["data"]
        assert [one["id"] for one in found] == expected


def test_ids_look_like_klaviyos(api: Any, make: Any) -> None:
    """26 characters for a profile, six for a list."""
    profile = api.post("/api/profile-import", {"data": make.profile(email="a@shop.io")}).json()
    made = api.post("/api/lists", make.new_list("News")).json()
    assert len(profile["data"]["id"]) == 26
    assert profile["data"]["id"].startswith("01")
    assert len(made["data"]["id"]) == 6


# --- imports ----------------------------------------------------------------------------


def test_an_import_job_is_worked_off_later(
    api: Any, make: Any, sandbox: Sandbox, clock: Any
) -> None:
    """Queued, processing, complete; before that nobody is imported, then all are on the list."""
    list_id = sandbox.create_list("News")
    rows = [make.profile(email=f"a{n}@shop.io") for n in range(3)]
    answer = api.post(IMPORTS, make.import_job(*rows, lists=(list_id,)))
    job = answer.json()["data"]
    path = f"{IMPORTS}/{job['id']}"
    seen = [job["attributes"]["status"]]
    for _ in range(2):
        clock.turn(0.3)
        seen.append(api.get(path)["data"]["attributes"]["status"])
    done = api.get(path)["data"]["attributes"]
    assert seen == ["queued", "processing", "complete"]
    assert (done["total_count"], done["completed_count"], done["failed_count"]) == (3, 3, 0)
    assert sandbox.summary()["lists"][list_id] == {"name": "News", "members": 3}
    assert (
        profile_of(api, "a0@shop.io")["attributes"]["subscriptions"]["email"]["marketing"][
            "consent"
        ]
        == "NEVER_SUBSCRIBED"
    )


def test_nothing_is_imported_before_the_job_is_due(api: Any, make: Any, sandbox: Sandbox) -> None:
    """202 promises nothing yet."""
    api.post(IMPORTS, make.import_job(make.profile(email="ada@shop.io")))
    assert sandbox.summary()["profiles"] == 0


def test_rows_that_fail_become_import_errors(api: Any, make: Any, clock: Any) -> None:
    """A conflict is only found when the job runs; the other rows go in."""
    api.post("/api/profile-import", {"data": make.profile(email="ada@shop.io")})
    api.post("/api/profile-import", {"data": make.profile(phone_number="+4915112345678")})
    both = make.profile(email="ada@shop.io", phone_number="+4915112345678")
    body = make.import_job(make.profile(email="bob@shop.io"), both)
    path = f"{IMPORTS}/{api.post(IMPORTS, body).json()['data']['id']}"
    clock.turn(1)
    done = api.get(path)["data"]["attributes"]
    assert (done["completed_count"], done["failed_count"]) == (1, 1)
    [error] = api.get(f"{path}/import-errors")["data"]
    assert error["attributes"]["code"] == "duplicate_profile"
    assert error["attributes"]["source"] == {"pointer": f"{ROWS}/1"}
    assert error["attributes"]["original_payload"] == both


def test_one_bad_row_fails_the_whole_import(api: Any, make: Any, sandbox: Sandbox) -> None:
    """400 at once with every bad row, and there is no job."""
    rows = [make.profile(email="ok@shop.io"), make.profile(email="bad"), make.profile(title="x")]
    assert api.pointers(IMPORTS, make.import_job(*rows)) == [
        f"{ROWS}/1/attributes/email",
        f"{ROWS}/2/attributes",
    ]
    assert api.get(IMPORTS)["data"] == []


def test_an_import_to_an_unknown_list_is_refused(api: Any, make: Any) -> None:
    """The pointer is as vague as Klaviyo's."""
    body = make.import_job(make.profile(email="ada@shop.io"), lists=("NoList",))
    assert api.pointers(IMPORTS, body) == ["/data"]


# --- lists ------------------------------------------------------------------------------


def test_lists_are_kept_and_paged_by_ten(api: Any, make: Any) -> None:
    """Create, read, rename, delete; names need not be unique."""
    ids = [api.post("/api/lists", make.new_list("News")).json()["data"]["id"] for _ in range(12)]
    page = api.get("/api/lists")
    rest = api.session.get(page["links"]["next"]).json()
    assert len(set(ids)) == 12
    assert (len(page["data"]), len(rest["data"])) == (10, 2)
    assert {one["id"] for one in page["data"] + rest["data"]} == set(ids)
    changed = make.new_list("Old")
    changed["data"]["id"] = ids[0]
    assert api.call("PATCH", f"/api/lists/{ids[0]}", changed).status_code == 200
    found = api.get("/api/lists", filter='equals(name,["Old"])')["data"]
    assert [one["id"] for one in found] == [ids[0]]
    assert api.call("DELETE", f"/api/lists/{ids[0]}").status_code == 204
    assert api.call("GET", f"/api/lists/{ids[0]}").status_code == 404


def test_members_are_added_and_removed_by_id(api: Any, make: Any, sandbox: Sandbox) -> None:
    """204 without a body; adding again and removing strangers of the list changes nothing."""
    list_id = sandbox.create_list("News")
    path = f"/api/lists/{list_id}/relationships/profiles"
    ids = [
        api.post("/api/profile-import", {"data": make.profile(email=f"a{n}@shop.io")}).json()[
            "data"
        ]["id"]
        for n in range(3)
    ]
    for _ in range(2):
        assert api.post(path, make.members(*ids[:2])).status_code == 204
    assert api.call("DELETE", path, make.members(*ids[1:])).status_code == 204
    assert api.get(path)["data"] == [{"type": "profile", "id": ids[0]}]
    lists = api.get(f"/api/profiles/{ids[0]}/relationships/lists")["data"]
    assert lists == [{"type": "list", "id": list_id}]
    assert api.pointers(path, make.members(ids[0], "01NOBODY"), 404) == ["/data/1/id"]


def test_joining_again_keeps_the_date(api: Any, make: Any, sandbox: Sandbox, clock: Any) -> None:
    """joined_group_at tells of the first time."""
    list_id = sandbox.create_list("News")
    row = {"data": make.profile(email="ada@shop.io")}
    profile_id = api.post("/api/profile-import", row).json()["data"]["id"]
    path = f"/api/lists/{list_id}/relationships/profiles"
    dates = []
    for _ in range(2):
        api.post(path, make.members(profile_id))
        [member] = api.get(f"/api/lists/{list_id}/profiles")["data"]
        dates.append(member["attributes"]["joined_group_at"])
        clock.turn(3600)
    assert dates[0] == dates[1]


def test_members_are_found_by_a_list_of_emails(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Only the list form is allowed; who is not on the list is not found."""
    list_id = sandbox.create_list("News")
    path = f"/api/lists/{list_id}/relationships/profiles"
    for name in ("ada", "bob"):
        row = {"data": make.profile(email=f"{name}@shop.io")}
        profile_id = api.post("/api/profile-import", row).json()["data"]["id"]
        if name == "ada":
            api.post(path, make.members(profile_id))
    found = api.get(path, filter='any(email,["ada@shop.io","bob@shop.io"])')["data"]
    members = api.get(f"/api/lists/{list_id}/profiles")["data"]
    assert [one["id"] for one in found] == [one["id"] for one in members]
    assert members[0]["attributes"]["joined_group_at"]
    refused = api.call("GET", path, params={"filter": 'equals(email,"ada@shop.io")'})
    assert refused.status_code == 400


# --- consent ----------------------------------------------------------------------------


def test_subscribing_to_a_list_joins_it(api: Any, make: Any, sandbox: Sandbox) -> None:
    """The profile is made, subscribed and put on the list."""
    list_id = sandbox.create_list("News")
    body = make.consent_job(
        "create", make.subscriber("ada@shop.io"), on=list_id, custom_source="Shop"
    )
    answer = api.post(SUBSCRIBE, body)
    assert (answer.status_code, answer.content) == (202, b"")
    consent = marketing(api, "ada@shop.io")
    assert (consent["consent"], consent["method_detail"]) == ("SUBSCRIBED", "Shop")
    assert sandbox.summary()["lists"][list_id]["members"] == 1


def test_double_opt_in_waits_for_a_confirmation(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Nothing changes until someone confirms, unless the consent is historical."""
    list_id = sandbox.create_list("News", "double_opt_in")
    fresh = make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id)
    assert api.post(SUBSCRIBE, fresh).status_code == 202
    assert sandbox.summary()["profiles"] == 0
    old = make.subscriber("ada@shop.io", "2020-01-01T00:00:00Z")
    body = make.consent_job("create", old, on=list_id, historical_import=True)
    assert api.post(SUBSCRIBE, body).status_code == 202
    assert sandbox.summary()["lists"][list_id]["members"] == 1


def test_a_stranger_without_a_list_never_becomes_a_profile(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """202, and nothing happens."""
    body = make.consent_job("create", make.subscriber("ada@shop.io"))
    assert api.post(SUBSCRIBE, body).status_code == 202
    assert sandbox.summary()["profiles"] == 0


def test_subscribing_takes_no_names_and_no_properties(api: Any, make: Any) -> None:
    """The item is named, and the whole request fails."""
    body = make.consent_job(
        "create",
        make.subscriber("ada@shop.io"),
        make.subscriber("bob@shop.io", first_name="Bob"),
        make.subscriber("cyd@shop.io", properties={}),
    )
    assert api.pointers(SUBSCRIBE, body) == [
        f"{ROWS}/1/attributes/first_name",
        f"{ROWS}/2/attributes/properties",
    ]


def test_consented_at_belongs_to_historical_imports(api: Any, make: Any, sandbox: Sandbox) -> None:
    """There it is required and in the past, elsewhere it is refused."""
    list_id = sandbox.create_list("News")
    place = f"{ROWS}/0/attributes/subscriptions/email/marketing/consented_at"
    past, future = "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"
    for when, historical in ((past, False), (None, True), (future, True)):
        one = make.subscriber("ada@shop.io", when)
        body = make.consent_job("create", one, on=list_id, historical_import=historical)
        assert api.pointers(SUBSCRIBE, body) == [place]
    one = make.subscriber("ada@shop.io", past)
    body = make.consent_job("create", one, on=list_id, historical_import=True)
    assert api.post(SUBSCRIBE, body).status_code == 202
    assert marketing(api, "ada@shop.io")["consent_timestamp"] == "2020-01-01T00:00:00+00:00"


def test_consent_older_than_an_unsubscribe_is_refused(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """History cannot overrule what the person said later."""
    list_id = sandbox.create_list("News")
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    old = make.subscriber("ada@shop.io", "2020-01-01T00:00:00Z")
    body = make.consent_job("create", old, on=list_id, historical_import=True)
    place = f"{ROWS}/0/attributes/subscriptions/email/marketing/consented_at"
    assert api.pointers(SUBSCRIBE, body) == [place]


def test_subscribing_again_lifts_suppressions(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Unsubscribed, then subscribed: mail may go out again."""
    list_id = sandbox.create_list("News")
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    before = marketing(api, "ada@shop.io")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    after = marketing(api, "ada@shop.io")
    assert [one["reason"] for one in before["suppression"]] == ["UNSUBSCRIBE"]
    assert not before["can_receive_email_marketing"]
    assert (after["consent"], after["suppression"]) == ("SUBSCRIBED", [])
    assert after["can_receive_email_marketing"]


def test_a_member_is_unsubscribed_from_the_list_alone(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """The rest of the consent goes on, and subscribing lifts it again."""
    list_id = sandbox.create_list("News")
    subscribe = make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id)
    api.post(SUBSCRIBE, subscribe)
    leave = make.consent_job("delete", make.unsubscriber("ada@shop.io"), on=list_id)
    assert api.post(UNSUBSCRIBE, leave).status_code == 202
    consent = marketing(api, "ada@shop.io")
    assert consent["consent"] == "SUBSCRIBED"
    assert [one["list_id"] for one in consent["list_suppressions"]] == [list_id]
    assert sandbox.summary()["global_unsubscribes"] == 0
    field = "subscriptions.email.marketing.list_suppressions.list_id"
    found = api.get("/api/profiles", filter=f'equals({field},"{list_id}")')["data"]
    assert [one["attributes"]["email"] for one in found] == ["ada@shop.io"]
    assert api.get("/api/profiles", filter=f'equals({field},"other")')["data"] == []
    api.post(SUBSCRIBE, subscribe)
    assert marketing(api, "ada@shop.io")["list_suppressions"] == []


def test_who_is_not_on_the_list_is_unsubscribed_globally(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """Klaviyo's trap: counted, so that a test can see it happen."""
    news, other = sandbox.create_list("News"), sandbox.create_list("Other")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=news))
    leave = make.consent_job("delete", make.unsubscriber("ada@shop.io"), on=other)
    assert api.post(UNSUBSCRIBE, leave).status_code == 202
    assert marketing(api, "ada@shop.io")["consent"] == "UNSUBSCRIBED"
    assert sandbox.summary()["global_unsubscribes"] == 1


def test_a_meant_global_unsubscribe_is_not_counted(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Without a list it is what was asked for."""
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    assert marketing(api, "ada@shop.io")["consent"] == "UNSUBSCRIBED"
    assert sandbox.summary()["global_unsubscribes"] == 0


def test_an_unknown_list_is_named(api: Any, make: Any) -> None:
    """For subscribing and unsubscribing, at the relationship."""
    place = ["/data/relationships/list/data/id"]
    joins = make.consent_job("create", make.subscriber("ada@shop.io"), on="NoList")
    leaves = make.consent_job("delete", make.unsubscriber("ada@shop.io"), on="NoList")
    assert api.pointers(SUBSCRIBE, joins) == place
    assert api.pointers(UNSUBSCRIBE, leaves) == place


def test_a_channel_needs_its_identifier(api: Any, make: Any, sandbox: Sandbox) -> None:
    """SMS needs a phone number, and gets its own consent."""
    list_id = sandbox.create_list("News")
    sms = {"email": {"marketing": {"consent": "SUBSCRIBED"}}}
    sms["sms"] = {"marketing": {"consent": "SUBSCRIBED"}}
    one = make.subscriber("ada@shop.io", subscriptions=sms)
    body = make.consent_job("create", one, on=list_id)
    assert api.pointers(SUBSCRIBE, body) == [f"{ROWS}/0/attributes/phone_number"]
    one["attributes"]["phone_number"] = "+4915112345678"
    assert api.post(SUBSCRIBE, body).status_code == 202
    subscriptions = profile_of(api, "ada@shop.io")["attributes"]["subscriptions"]
    assert subscriptions["sms"]["marketing"]["can_receive_sms_marketing"]
    assert not subscriptions["sms"]["transactional"]["can_receive_sms_transactional"]


def test_unsuppressing_lifts_what_suppressing_did(api: Any, make: Any, clock: Any) -> None:
    """And nothing else: an unsubscribe stays."""
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    reasons = []
    for path, kind in ((SUPPRESS, "create"), (UNSUPPRESS, "delete")):
        job = api.post(path, make.suppression_job(kind, "ada@shop.io"))
        assert (job.status_code, job.json()["data"]["attributes"]["status"]) == (202, "queued")
        clock.turn(1)
        done = api.get(f"{path}/{job.json()['data']['id']}")["data"]["attributes"]
        assert (done["status"], done["completed_count"]) == ("complete", 1)
        found = marketing(api, "ada@shop.io")["suppression"]
        reasons.append([one["reason"] for one in found])
    assert reasons == [["UNSUBSCRIBE", "USER_SUPPRESSED"], ["UNSUBSCRIBE"]]


def test_a_suppression_names_one_target(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Emails or a list, not both and not neither; a list means all its members."""
    list_id = sandbox.create_list("News")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    both = make.suppression_job("create", "bob@shop.io")
    relation = {"list": {"data": {"type": "list", "id": list_id}}}
    both["data"]["relationships"] = relation
    assert api.pointers(SUPPRESS, both) == ["/data"]
    neither = make.suppression_job("create")
    neither["data"]["attributes"] = {}
    assert api.pointers(SUPPRESS, neither) == ["/data"]
    neither["data"]["relationships"] = relation
    assert api.post(SUPPRESS, neither).json()["data"]["attributes"]["total_count"] == 1


# --- privacy ----------------------------------------------------------------------------


def test_a_deleted_profile_is_gone_with_everything(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Events and memberships too; a second time it is 404, which counts as done."""
    list_id = sandbox.create_list("News")
    api.post("/api/events", make.event("ada@shop.io", unique_id="1"))
    profile_id = profile_of(api, "ada@shop.io")["id"]
    api.post(f"/api/lists/{list_id}/relationships/profiles", make.members(profile_id))
    path = "/api/data-privacy-deletion-jobs"
    assert api.post(path, make.deletion(email="ada@shop.io")).status_code == 202
    summary = sandbox.summary()
    assert (summary["profiles"], summary["events"], summary["deletions"]) == (0, 0, 1)
    assert summary["lists"][list_id]["members"] == 0
    assert api.pointers(path, make.deletion(email="ada@shop.io"), 404) == ["/data/"]
    assert api.call("GET", f"/api/profiles/{profile_id}").status_code == 404
    api.post("/api/events", make.event("ada@shop.io", unique_id="1"))
    assert sandbox.summary()["events"] == 1


def test_a_deletion_names_exactly_one_identifier(api: Any, make: Any) -> None:
    """Two or none are refused."""
    path = "/api/data-privacy-deletion-jobs"
    two = make.deletion(email="ada@shop.io", phone_number="+4915112345678")
    for body in (two, make.deletion()):
        assert api.pointers(path, body) == ["/data/attributes/profile/data"]


# --- rate limits ------------------------------------------------------------------------


def test_the_headers_tell_the_limits(limited_api: Any, make: Any) -> None:
    """All windows in one header; Remaining and Reset speak of the burst window."""
    limited_api.post("/api/profile-import", {"data": make.profile(email="a@shop.io")})
    answer = limited_api.post("/api/profile-import", {"data": make.profile(email="a@shop.io")})
    assert answer.headers["RateLimit-Limit"] == "75, 75;w=1, 750;w=60"
    assert answer.headers["RateLimit-Remaining"] == "73"
    assert answer.headers["RateLimit-Reset"] == "0"
    answer = limited_api.post("/api/lists", make.new_list("News"))
    assert answer.headers["RateLimit-Limit"] == "10, 10;w=1, 150;w=60, 150;w=86400"


def test_a_burst_is_throttled_until_the_second_is_over(
    limited_api: Any, make: Any, limited: Sandbox, clock: Any
) -> None:
    """429 with Retry-After and no other limit header; nothing is processed."""
    for number in range(10):
        body = make.bulk(make.entry(unique_id=str(number)))
        assert limited_api.post(BULK, body).status_code == 202
    answer = limited_api.post(BULK, make.bulk(make.entry(unique_id="11")))
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
    assert not any(name.startswith("RateLimit") for name in answer.headers)
    assert answer.json()["errors"][0]["code"] == "throttled"
    assert limited.summary()["events"] == 10
    assert limited.summary()["throttled"] == 1
    clock.turn(1)
    assert limited_api.post(BULK, make.bulk(make.entry(unique_id="11"))).status_code == 202


def test_a_full_minute_is_waited_out(limited_api: Any, make: Any, clock: Any) -> None:
    """The steady window holds 60 for the smallest endpoints, and Retry-After says how long."""
    path = "/api/data-privacy-deletion-jobs"
    for number in range(60):
        assert limited_api.post(path, make.deletion(email="a@shop.io")).status_code == 404
        clock.turn(1 / 4 if number % 2 else 3 / 4)
    clock.turn(2)
    answer = limited_api.post(path, make.deletion(email="a@shop.io"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "28")
    clock.turn(28)
    assert limited_api.post(path, make.deletion(email="a@shop.io")).status_code == 404


def test_lists_have_a_daily_limit(limited_api: Any, make: Any, clock: Any) -> None:
    """150 a day, whatever the minute says."""
    for _ in range(150):
        assert limited_api.post("/api/lists", make.new_list("News")).status_code == 201
        clock.turn(1)
    clock.turn(60)
    answer = limited_api.post("/api/lists", make.new_list("News"))
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 3600


def test_accounts_and_endpoints_are_counted_apart(limited_api: Any, make: Any) -> None:
    """A full window stops neither another endpoint nor another key."""
    path = "/api/data-privacy-deletion-jobs"
    statuses = [
        limited_api.post(path, make.deletion(email="a@shop.io")).status_code for _ in range(4)
    ]
    assert statuses == [404, 404, 404, 429]
    assert limited_api.post("/api/events", make.event()).status_code == 202
    other = {"Authorization": "Klaviyo-API-Key pk_other"}
    answer = limited_api.post(path, make.deletion(email="a@shop.io"), headers=other)
    assert answer.status_code == 404


# --- faults -----------------------------------------------------------------------------


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
    assert sandbox.wait(events=1, timeout=5)["events"] == 1


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


# --- control ----------------------------------------------------------------------------


def test_the_control_endpoints_show_everything(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Without a key and without counting themselves."""
    list_id = sandbox.create_list("News")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    api.post("/api/events", make.event("ada@shop.io", unique_id="1"))

    def look(name: str) -> Any:
        return requests.get(f"{sandbox.url}/sandbox/{name}", timeout=5).json()

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
    assert requests.post(f"{control}/faults", json=rules, timeout=5).status_code == 200
    assert api.post("/api/events", make.event()).status_code == 500
    assert requests.delete(f"{control}/faults", timeout=5).status_code == 204
    assert api.post("/api/events", make.event()).status_code == 202
    for name, body in (
        ("faults", [{"status": 500, "action": "reset"}]),
        ("faults", [{"status": 500, "tmies": 1}]),
        ("faults", [{"status": 500, "endpoint": "POST /api/event"}]),
        ("settings", {"repeats": "perhaps"}),
        ("settings", {"colour": "red"}),
    ):
        assert requests.post(f"{control}/{name}", json=body, timeout=5).status_code == 400
    changes = {"limits": True, "import_delay_seconds": 0}
    assert requests.post(f"{control}/settings", json=changes, timeout=5).json()["limits"] is True
    assert "RateLimit-Limit" in api.post("/api/events", make.event()).headers
    assert requests.post(f"{control}/reset", timeout=5).status_code == 204
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
    waiter.join(10)
    assert outcome[0].status_code == 200
    assert outcome[0].json()["events"] == 1


def test_waiting_in_vain_is_408_with_the_summary(sandbox: Sandbox) -> None:
    """So that a test can say what is missing."""
    url = f"{sandbox.url}/sandbox/wait?events=1&timeout=0"
    answer = requests.get(url, timeout=5)
    assert (answer.status_code, answer.json()["events"]) == (408, 0)
    with pytest.raises(TimeoutError):
        sandbox.wait(events=1, timeout=0)


def test_a_waiter_sees_jobs_become_due(make: Any) -> None:
    """Nobody else asks in between, and still the import is worked off."""
    with Sandbox(limits=False, import_delay_seconds=0.1) as sandbox:
        headers = {"Authorization": "Klaviyo-API-Key pk_x", "revision": "2026-07-15"}
        body = make.import_job(make.profile(email="ada@shop.io"))
        requests.post(sandbox.url + IMPORTS, json=body, headers=headers, timeout=5)
        assert sandbox.wait(profiles=1, timeout=5)["profiles"] == 1


def test_many_clients_at_once_lose_nothing(make: Any) -> None:
    """Eight threads, each with its own connection."""
    headers = {"Authorization": "Klaviyo-API-Key pk_x", "revision": "2026-07-15"}

    def send(url: str, first: int) -> None:
        with requests.Session() as session:
            for number in range(first, first + 25):
                body = make.event(f"a{number % 10}@shop.io", unique_id=str(number))
                session.post(f"{url}/api/events", json=body, headers=headers, timeout=10)

    with Sandbox(limits=False) as sandbox:
        threads = [threading.Thread(target=send, args=(sandbox.url, n * 25)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        summary = sandbox.summary()
    assert (summary["events"], summary["profiles"]) == (200, 10)
    assert summary["requests"] == {"POST /api/events": {"202": 200}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_its_url_and_ends_when_told(number: signal.Signals) -> None:
    """One JSON line on stdout when ready; exit status 0 on SIGTERM and SIGINT."""
    command = [sys.executable, "-m", "klaviyo_relay_worker.sandbox", "--no-limits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert requests.get(f"{url}/sandbox/summary", timeout=5).json()["events"] == 0
        process.send_signal(number)
        assert process.wait(10) == 0


def test_stopping_frees_the_port_and_ends_connections(make: Any) -> None:
    """A client that keeps its connection alive finds it closed."""
    with Sandbox(limits=False) as sandbox:
        url = sandbox.url
        session = requests.Session()
        assert session.get(f"{url}/sandbox/summary", timeout=5).status_code == 200
    with pytest.raises(requests.ConnectionError):
        session.get(f"{url}/sandbox/summary", timeout=5)
    with Sandbox(port=int(url.rpartition(":")[2])) as again:
        assert again.url == url
