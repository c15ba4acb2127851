"""Push tokens: members are found by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox


@pytest.fixture
def members(api: Any, sandbox: Sandbox) -> Any:
    """Gives the emails of those members of a list and of a segment whom tokens find."""
    people = ("ada@shop.io", "bob@shop.io")
    segment = sandbox.create_segment("Buyers", *people)
    listed = sandbox.create_list("News")
    references = [{"type": "profile", "id": one["id"]} for one in sandbox.profiles()]
    api.post(f"/api/lists/{listed}/relationships/profiles", {"data": references})

    def found(condition: str) -> list[str]:
        in_list, in_segment = (
            [
                one["attributes"]["email"]
                for one in api.get(f"/api/{group}/profiles", filter=condition)["data"]
            ]
            for group in (f"lists/{listed}", f"segments/{segment}")
        )
        assert in_list == in_segment
        return in_list

    return found


def test_members_are_found_by_their_push_tokens(members: Any, sandbox: Sandbox) -> None:
    sandbox.add_push_token("ada@shop.io", "one")
    sandbox.add_push_token("ada@shop.io", "two")
    sandbox.add_push_token("bob@shop.io", "three")
    sandbox.add_push_token("eve@shop.io", "four")
    assert members('equals(push_token,["two"])') == ["ada@shop.io"]
    assert members('any(push_token,["one","two"])') == ["ada@shop.io"]
    assert sorted(members('any(push_token,["one","three","none"])')) == [
        "ada@shop.io",
        "bob@shop.io",
    ]
    assert members('any(push_token,["four"])') == []
    assert members('any(push_token,["one"]),any(email,["bob@shop.io"])') == []


def test_a_token_has_one_owner(members: Any, sandbox: Sandbox) -> None:
    sandbox.add_push_token("ada@shop.io", "one")
    sandbox.add_push_token("bob@shop.io", "one")
    sandbox.add_push_token("bob@shop.io", "one")
    assert members('any(push_token,["one"])') == ["bob@shop.io"]
    assert members('any(email,["ada@shop.io"]),any(push_token,["one"])') == []


def test_who_subscribes_to_push_brings_tokens_along(
    api: Any, make: Any, members: Any, sandbox: Sandbox
) -> None:
    tokens = [{"token": "one", "platform": "ios", "vendor": "apns"}]
    push = {"marketing": {"consent": "SUBSCRIBED"}, "tokens": tokens}
    subscriber = make.profile(email="ada@shop.io", subscriptions={"push": push})
    body = make.consent_job("create", subscriber)
    assert api.post("/api/profile-subscription-bulk-create-jobs", body).status_code == 202
    assert members('any(push_token,["one"])') == ["ada@shop.io"]


def test_a_deleted_person_leaves_the_token_to_others(
    api: Any, make: Any, members: Any, sandbox: Sandbox
) -> None:
    sandbox.add_push_token("ada@shop.io", "one")
    api.post("/api/data-privacy-deletion-jobs", make.deletion(email="ada@shop.io"))
    assert members('any(push_token,["one"])') == []
    sandbox.add_push_token("bob@shop.io", "one")
    assert members('any(push_token,["one"])') == ["bob@shop.io"]


def test_tokens_come_by_http_and_come_back_with_a_recorded_account(
    api: Any, make: Any, clock: Any, tmp_path: Path
) -> None:
    began = {"limits": False, "clock": clock, "record": tmp_path / "record"}
    with Sandbox(**began) as first:
        url = f"{first.url}/sandbox/push-tokens"
        segment = first.create_segment("Buyers", "ada@shop.io")
        body = {"profile": "ada@shop.io", "token": "one"}
        assert requests.post(url, json=body, timeout=30).status_code == 201
        for bad in ({"profile": "01NOBODY", "token": "one"}, {"token": "one"}):
            assert requests.post(url, json=bad, timeout=30).status_code == 400
    with Sandbox(**began) as second:
        path = f"/api/segments/{segment}/relationships/profiles"
        [found] = type(api)(second.url).get(path, filter='any(push_token,["one"])')["data"]
        assert found["id"] == second.profiles()[0]["id"]
