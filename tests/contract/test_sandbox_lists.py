"""Lists in the sandbox, and who is on them."""

from __future__ import annotations

from typing import Any

from klaviyo_relay_worker.sandbox import Sandbox


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
