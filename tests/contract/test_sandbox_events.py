"""Events in the sandbox: in bulk and single, repeats, persons, and how they are read back."""

from __future__ import annotations

from typing import Any

import pytest

from klaviyo_relay_worker.sandbox import Sandbox

BULK = "/api/event-bulk-create-jobs"
ENTRIES = "/data/attributes/events-bulk-create/data"


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
    ada = api.profile_of("ada@shop.io")["id"]
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
