"""Profiles in the sandbox: created, changed, cleared, in conflict, found."""

from __future__ import annotations

from typing import Any

from klaviyo_relay_worker.sandbox import Sandbox

IMPORTS = "/api/profile-bulk-import-jobs"
ROWS = "/data/attributes/profiles/data"


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
