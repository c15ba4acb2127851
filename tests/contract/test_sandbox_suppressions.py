"""What stops mail to a person: reasons set by tests, and how clients find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox

MARKETING = "subscriptions.email.marketing"


@pytest.fixture
def lists(sandbox: Sandbox, clock: Any) -> list[str]:
    """Two lists, and a minute apart: bounces, complaints and departures."""
    news, offers = sandbox.create_list("News"), sandbox.create_list("Offers")
    for profile, reason, list_id in (
        ("ada@shop.io", "HARD_BOUNCE", None),
        ("bob@shop.io", "SPAM_COMPLAINT", news),
        ("bob@shop.io", "UNSUBSCRIBE", offers),
        ("eve@shop.io", "UNSUBSCRIBE", news),
        ("eve@shop.io", "SPAM_COMPLAINT", None),
    ):
        sandbox.suppress(profile, reason, list_id)
        clock.turn(60)
    return [news, offers]


def found(api: Any, *conditions: str) -> str:
    """The initials of those for whom the conditions hold."""
    condition = ",".join(one.replace("(", f"({MARKETING}.") for one in conditions)
    people = api.get("/api/profiles", filter=condition)["data"]
    return "".join(sorted(one["attributes"]["email"][0] for one in people))


def test_the_reason_and_the_time_are_told(api: Any, lists: list[str]) -> None:
    everyone = api.get("/api/profiles", **{"additional-fields[profile]": "subscriptions"})["data"]
    bob = next(one for one in everyone if one["attributes"]["email"] == "bob@shop.io")
    marketing = bob["attributes"]["subscriptions"]["email"]["marketing"]
    assert marketing["can_receive_email_marketing"] is True
    assert marketing["list_suppressions"] == [
        {
            "list_id": lists[0],
            "reason": "SPAM_COMPLAINT",
            "timestamp": "2027-01-15T08:01:00+00:00",
        },
        {"list_id": lists[1], "reason": "UNSUBSCRIBE", "timestamp": "2027-01-15T08:02:00+00:00"},
    ]
    ada = next(one for one in everyone if one["attributes"]["email"] == "ada@shop.io")
    marketing = ada["attributes"]["subscriptions"]["email"]["marketing"]
    assert marketing["can_receive_email_marketing"] is False
    assert [one["reason"] for one in marketing["suppression"]] == ["HARD_BOUNCE"]


def test_people_are_found_by_what_stops_mail_to_them(api: Any, lists: list[str]) -> None:
    news, offers = lists
    for wanted, *conditions in (
        ("a", 'equals(suppression.reason,"HARD_BOUNCE")'),
        ("e", 'equals(suppression.reason,"SPAM_COMPLAINT")'),
        ("", 'equals(suppression.reason,"UNSUBSCRIBE")'),
        ("a", "less-than(suppression.timestamp,2027-01-15T08:04:00Z)"),
        ("ae", "less-or-equal(suppression.timestamp,2027-01-15T08:04:00Z)"),
        ("be", f'equals(list_suppressions.list_id,"{news}")'),
        ("b", f'equals(list_suppressions.list_id,"{offers}")'),
        ("be", 'equals(list_suppressions.reason,"UNSUBSCRIBE")'),
        ("b", 'equals(list_suppressions.reason,"SPAM_COMPLAINT")'),
        ("be", "greater-or-equal(list_suppressions.timestamp,2027-01-15T08:02:00Z)"),
        ("e", "greater-than(list_suppressions.timestamp,2027-01-15T08:02:00Z)"),
    ):
        assert found(api, *conditions) == wanted, conditions


def test_several_conditions_hold_for_one_and_the_same_suppression(
    api: Any, lists: list[str]
) -> None:
    for list_id, reason, wanted in (
        (lists[0], "SPAM_COMPLAINT", "b"),
        (lists[1], "UNSUBSCRIBE", "b"),
        (lists[0], "UNSUBSCRIBE", "e"),
        (lists[1], "SPAM_COMPLAINT", ""),
    ):
        conditions = (
            f'equals(list_suppressions.list_id,"{list_id}")',
            f'equals(list_suppressions.reason,"{reason}")',
        )
        assert found(api, *conditions) == wanted, conditions
    in_account = 'equals(suppression.reason,"SPAM_COMPLAINT")'
    assert found(api, in_account, f'equals(list_suppressions.list_id,"{lists[0]}")') == "e"


def test_exclusions_are_read_page_by_page(api: Any, sandbox: Sandbox) -> None:
    list_id = sandbox.create_list("News")
    for number in range(45):
        sandbox.suppress(f"p{number}@shop.io", "SPAM_COMPLAINT", list_id)
    sandbox.suppress("other@shop.io", "SPAM_COMPLAINT")
    wanted = f'equals({MARKETING}.list_suppressions.list_id,"{list_id}")'
    page = api.get("/api/profiles", filter=wanted, **{"page[size]": 20})
    seen = [one["id"] for one in page["data"]]
    while page["links"]["next"]:
        page = api.session.get(page["links"]["next"]).json()
        seen += [one["id"] for one in page["data"]]
    assert len(seen) == len(set(seen)) == 45


@pytest.mark.parametrize("kind", ["suppression", "list_suppressions"])
def test_such_a_filter_takes_no_order(api: Any, kind: str) -> None:
    params = {"filter": f'equals({MARKETING}.{kind}.reason,"UNSUBSCRIBE")', "sort": "created"}
    answer = api.call("GET", "/api/profiles", params=params)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["source"] == {"parameter": "sort"}


def test_without_such_a_filter_people_come_in_any_order(
    api: Any, make: Any, sandbox: Sandbox, clock: Any
) -> None:
    for name in ("cora", "ada", "bob"):
        body = {"data": make.profile(email=f"{name}@shop.io")}
        assert api.post("/api/profile-import", body).status_code == 201
        clock.turn(1)
    api.post("/api/profile-import", {"data": make.profile(email="ada@shop.io", title="Dr")})
    by_id = [one["email"][0] for one in sorted(sandbox.profiles(), key=lambda one: one["id"])]
    for field, wanted in (
        ("created", "cab"),
        ("email", "abc"),
        ("updated", "cba"),
        ("id", "".join(by_id)),
    ):
        for sort, order in ((field, wanted), (f"-{field}", wanted[::-1])):
            page = api.get("/api/profiles", sort=sort, **{"page[size]": 2})
            rest = api.session.get(page["links"]["next"]).json()
            found = [one["attributes"]["email"][0] for one in (*page["data"], *rest["data"])]
            assert "".join(found) == order, sort


def test_subscribing_to_a_list_ends_what_stopped_its_mail(
    api: Any, make: Any, lists: list[str]
) -> None:
    body = make.consent_job("create", make.subscriber("bob@shop.io"), on=lists[0])
    api.post("/api/profile-subscription-bulk-create-jobs", body)
    assert found(api, f'equals(list_suppressions.list_id,"{lists[0]}")') == "e"
    assert found(api, f'equals(list_suppressions.list_id,"{lists[1]}")') == "b"


def test_the_first_reason_of_a_list_stays(api: Any, sandbox: Sandbox, lists: list[str]) -> None:
    sandbox.suppress("bob@shop.io", "HARD_BOUNCE", lists[0])
    assert found(api, 'equals(list_suppressions.reason,"HARD_BOUNCE")') == ""


def test_suppressions_come_by_http_and_come_back_with_a_recorded_account(
    api: Any, clock: Any, tmp_path: Path
) -> None:
    began = {"limits": False, "clock": clock, "record": tmp_path / "record"}
    with Sandbox(**began) as first:
        url = f"{first.url}/sandbox/suppress"
        list_id = first.create_list("News")
        suppressed = {"profile": "ada@shop.io", "reason": "SPAM_COMPLAINT", "list_id": list_id}
        everywhere = {"profile": "ada@shop.io", "reason": "HARD_BOUNCE", "list_id": None}
        for body in (suppressed, everywhere):
            assert requests.post(url, json=body, timeout=30).status_code == 201
        for bad in (
            {**suppressed, "reason": "BOREDOM"},
            {**suppressed, "list_id": "NOPE01"},
            {**suppressed, "profile": "01NOBODY"},
            {"reason": "SPAM_COMPLAINT"},
        ):
            assert requests.post(url, json=bad, timeout=30).status_code == 400, bad
        before = first.profiles()
    clock.turn(60)
    with Sandbox(**began) as second:
        assert second.profiles() == before
        assert found(type(api)(second.url), 'equals(suppression.reason,"HARD_BOUNCE")') == "a"
