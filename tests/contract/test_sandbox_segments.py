"""Segments, which tests make and clients read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox


@pytest.fixture
def people(api: Any, make: Any) -> dict[str, str]:
    """Ids by name."""
    numbers = {"ada": "+4915112345671", "bob": "+4915112345672", "eve": "+4915112345673"}
    made = {}
    for name, number in numbers.items():
        body = {"data": make.profile(email=f"{name}@shop.io", phone_number=number)}
        made[name] = api.post("/api/profile-import", body).json()["data"]["id"]
    return made


def ids(document: Any) -> list[str]:
    return [one["id"] for one in document["data"]]


def test_segments_are_paged_by_ten(api: Any, sandbox: Sandbox, clock: Any) -> None:
    made = []
    for number in range(12):
        made.append(sandbox.create_segment(f"Segment {number:02}"))
        clock.turn(1)
    first = api.get("/api/segments", sort="name")
    rest = api.session.get(first["links"]["next"]).json()
    assert ids(first) + ids(rest) == made
    assert (len(ids(first)), rest["links"]["next"]) == (10, None)
    assert api.call("GET", "/api/segments", params={"page[size]": 11}).status_code == 400


def test_segments_are_filtered(api: Any, sandbox: Sandbox, clock: Any) -> None:
    old = sandbox.create_segment("Old", is_active=False)
    clock.turn(60)
    new = sandbox.create_segment("New, (really)")
    for condition, wanted in (
        ('equals(name,["Old"])', [old]),
        ('any(name,["New, (really)","None"])', [new]),
        (f'equals(id,"{old}")', [old]),
        (f'any(id,["{old}","{new}"])', [old, new]),
        ("greater-than(created,2027-01-15T08:00:30Z)", [new]),
        ("greater-than(updated,2027-01-15T08:00:30Z)", [new]),
        ("equals(is_active,true)", [new]),
        ("any(is_active,[true,false])", [old, new]),
        ("equals(is_starred,true)", [old, new]),
    ):
        assert ids(api.get("/api/segments", filter=condition)) == wanted, condition
    for condition in ('equals(name,"Old")', 'any(is_starred,["true"])', 'equals(colour,"red")'):
        answer = api.call("GET", "/api/segments", params={"filter": condition})
        assert answer.status_code == 400, condition


def test_one_segment_tells_its_size_if_asked(api: Any, sandbox: Sandbox, people: Any) -> None:
    made = sandbox.create_segment("Buyers", people["ada"], "bob@shop.io", "BOB@shop.io")
    asked = {"additional-fields[segment]": "profile_count"}
    attributes = api.get(f"/api/segments/{made}", **asked)["data"]["attributes"]
    assert (attributes["name"], attributes["profile_count"]) == ("Buyers", 2)
    assert "profile_count" not in api.get(f"/api/segments/{made}")["data"]["attributes"]


def test_members_are_found_by_what_identifies_them(
    api: Any, sandbox: Sandbox, people: dict[str, str]
) -> None:
    made = sandbox.create_segment("Buyers", people["ada"], people["bob"])
    both = [people["ada"], people["bob"]]
    for condition, wanted in (
        (None, both),
        ('any(email,["ada@shop.io","eve@shop.io"])', [people["ada"]]),
        ('equals(phone_number,["+4915112345672"])', [people["bob"]]),
        (f'any(profile_id,["{people["bob"]}","{people["eve"]}"])', [people["bob"]]),
        ("greater-or-equal(joined_group_at,2027-01-15T08:00:00Z)", both),
        ("greater-than(joined_group_at,2027-01-15T08:00:00Z)", []),
    ):
        for path in ("profiles", "relationships/profiles"):
            found = api.get(f"/api/segments/{made}/{path}", filter=condition)
            assert sorted(ids(found)) == sorted(wanted), condition


def test_only_segments_are_filtered_by_profile_id(
    api: Any, sandbox: Sandbox, people: dict[str, str]
) -> None:
    made = sandbox.create_list("News")
    wanted = {"filter": f'any(profile_id,["{people["ada"]}"])'}
    assert api.call("GET", f"/api/lists/{made}/profiles", params=wanted).status_code == 400


def test_members_are_read_page_by_page(api: Any, sandbox: Sandbox, people: dict[str, str]) -> None:
    made = sandbox.create_segment("All", *people.values())
    page = api.get(f"/api/segments/{made}/profiles", **{"page[size]": 2})
    rest = api.session.get(page["links"]["next"]).json()
    assert sorted(ids(page) + ids(rest)) == sorted(people.values())
    assert rest["links"]["next"] is None
    assert "joined_group_at" in rest["data"][0]["attributes"]


def test_a_person_tells_the_segments(api: Any, sandbox: Sandbox, people: dict[str, str]) -> None:
    made = [sandbox.create_segment(name, people["ada"]) for name in ("Buyers", "Readers")]
    sandbox.create_segment("Others", people["bob"])
    for path in ("segments", "relationships/segments"):
        assert ids(api.get(f"/api/profiles/{people['ada']}/{path}")) == made
        assert api.call("GET", f"/api/profiles/01NOBODY/{path}").status_code == 404


def test_what_is_no_segment_is_not_found(api: Any, sandbox: Sandbox) -> None:
    listed = sandbox.create_list("News")
    for identifier in (listed, "NOPE01"):
        for path in ("", "/profiles", "/relationships/profiles"):
            assert api.call("GET", f"/api/segments/{identifier}{path}").status_code == 404


def test_who_is_deleted_is_in_no_segment(
    api: Any, make: Any, sandbox: Sandbox, people: dict[str, str]
) -> None:
    made = sandbox.create_segment("Buyers", people["ada"], people["bob"])
    api.post("/api/data-privacy-deletion-jobs", make.deletion(id=people["ada"]))
    assert ids(api.get(f"/api/segments/{made}/profiles")) == [people["bob"]]
    asked = {"additional-fields[segment]": "profile_count"}
    assert api.get(f"/api/segments/{made}", **asked)["data"]["attributes"]["profile_count"] == 1


def test_an_unknown_email_makes_a_profile_and_an_unknown_id_nothing(sandbox: Sandbox) -> None:
    sandbox.create_segment("Buyers", "New@shop.io")
    assert [one["email"] for one in sandbox.profiles()] == ["new@shop.io"]
    with pytest.raises(ValueError, match="01NOBODY"):
        sandbox.create_segment("Others", "other@shop.io", "01NOBODY")
    assert len(sandbox.profiles()) == 1


def test_segments_are_made_over_http_too(api: Any, sandbox: Sandbox, people: Any) -> None:
    url = f"{sandbox.url}/sandbox/segments"
    body = {"name": "Buyers", "profiles": ["ada@shop.io", people["bob"]]}
    answer = requests.post(url, json=body, timeout=30)
    assert answer.status_code == 201
    assert len(ids(api.get(f"/api/segments/{answer.json()['id']}/profiles"))) == 2
    for bad in ({"name": "X", "members": []}, {"profiles": []}, {"name": "X", "profiles": ["01"]}):
        assert requests.post(url, json=bad, timeout=30).status_code == 400, bad


def test_a_segment_can_be_suppressed(
    api: Any, make: Any, sandbox: Sandbox, clock: Any, people: dict[str, str]
) -> None:
    made = sandbox.create_segment("Bounced", people["ada"])
    path = "/api/profile-suppression-bulk-create-jobs"
    body = make.suppression_job("create")
    del body["data"]["attributes"]["profiles"]
    segment = {"type": "segment", "id": made}
    body["data"]["relationships"] = {"segment": {"data": segment}}
    job = api.post(path, body).json()["data"]
    assert job["relationships"]["segments"]["data"] == [segment]
    clock.turn(1)
    condition = 'equals(subscriptions.email.marketing.suppression.reason,"USER_SUPPRESSED")'
    assert ids(api.get("/api/profiles", filter=condition)) == [people["ada"]]
    segment["id"] = "NOPE01"
    assert api.pointers(path, body) == ["/data/relationships"]


def test_segments_come_back_with_a_recorded_account(
    api: Any, clock: Any, tmp_path: Path, make: Any
) -> None:
    began = {"limits": False, "clock": clock, "record": tmp_path / "record"}
    with Sandbox(**began) as first:
        type(api)(first.url).post("/api/profile-import", {"data": make.profile(email="a@shop.io")})
        made = first.create_segment("Buyers", "a@shop.io", "b@shop.io")
        before = type(api)(first.url).get(f"/api/segments/{made}/profiles")["data"]
    clock.turn(60)
    with Sandbox(**began) as second:
        again = type(api)(second.url)
        after = again.get(f"/api/segments/{made}/profiles")["data"]
        assert [one["attributes"] for one in after] == [one["attributes"] for one in before]
        assert again.get(f"/api/segments/{made}")["data"]["attributes"]["name"] == "Buyers"
