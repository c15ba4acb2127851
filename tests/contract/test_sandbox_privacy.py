"""Deletions in the sandbox."""

from __future__ import annotations

from typing import Any

from klaviyo_relay_worker.sandbox import Sandbox


def test_a_deleted_profile_is_gone_with_everything(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Events and memberships too; a second time it is 404, which counts as done."""
    list_id = sandbox.create_list("News")
    api.post("/api/events", make.event("ada@shop.io", unique_id="1"))
    profile_id = api.profile_of("ada@shop.io")["id"]
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
