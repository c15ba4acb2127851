"""The sandbox's rate limits are Klaviyo's: a second, a minute, a day."""

from __future__ import annotations

from typing import Any

from klaviyo_relay_worker.sandbox import Sandbox

BULK = "/api/event-bulk-create-jobs"


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
