"""Look-ups: a hundred values a request, every page, and a bad value harms no other."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.plan.lookup import HARMLESS, Found, look_up

HUNDRED = [f"p{n:03}" for n in range(100)]


def request_of(values):
    return Request(endpoint="GET /api/profiles", path=f"/api/profiles?filter={','.join(values)}")


def looked_up(values, klaviyo):
    """What was found, and the paths of the requests."""
    found, paths = Found(), []
    conversation = look_up("email", values, request_of, found)
    request = next(conversation, None)
    while request is not None:
        paths.append(request.path)
        try:
            request = conversation.send(klaviyo(request))
        except StopIteration:
            break
    return found, paths


def profiles_in(path):
    return [{"id": value} for value in path.partition("=")[2].split(",") if value]


def knows_all(talk):
    return lambda request: talk.answer(200, {"data": profiles_in(request.path)})


@pytest.mark.parametrize(("number", "requests"), [(0, 0), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_a_request_asks_for_a_hundred_at_most(talk, number, requests):
    values = [f"v{n}" for n in range(number)]
    found, paths = looked_up(values, knows_all(talk))
    assert len(paths) == requests
    assert [one["id"] for one in found.profiles] == values


def test_every_page_is_read(talk):
    pages = {"/api/profiles?filter=a": "/api/profiles/?page=2", "/api/profiles?page=2": ""}

    def klaviyo(request):
        following = pages[request.path]
        links = {"next": f"https://a.klaviyo.com{following}" if following else None}
        return talk.answer(200, {"data": [{"id": request.path}], "links": links})

    found, paths = looked_up(["a"], klaviyo)
    assert paths == list(pages)
    assert len(found.profiles) == 2


@pytest.mark.parametrize("bad", [["p042"], ["p000", "p099"]], ids=["one", "both ends"])
def test_a_bad_value_is_singled_out(talk, bad):
    def klaviyo(request):
        if any(value in request.path for value in bad):
            return talk.refusal("filter", detail="is no address")
        return knows_all(talk)(request)

    found, paths = looked_up(HUNDRED, klaviyo)
    assert sorted(found.failures) == bad
    assert {failure.detail for failure in found.failures.values()} == {"is no address"}
    assert sorted(one["id"] for one in found.profiles) == [v for v in HUNDRED if v not in bad]
    assert len(paths) <= 1 + 2 * 7 * len(bad)


def test_what_is_gone_is_not_searched_for_a_bad_value(talk):
    found, paths = looked_up(HUNDRED, lambda _: talk.refusal("/data", status=404))
    assert len(paths) == 1
    assert sorted(found.failures) == HUNDRED
    assert {failure.status for failure in found.failures.values()} == {404}


def test_a_reason_that_is_no_values_is_not_searched_for_among_them(talk):
    found, paths = looked_up([f"v{n}" for n in range(250)], lambda _: talk.refusal("/data"))
    assert sorted(found.failures) == sorted(f"v{n}" for n in range(250))
    assert found.profiles == []
    assert paths[3] == f"/api/profiles?filter={HARMLESS['email']}"
    assert len(paths) == 1 + 2 + 1 + 2, "whole, halves, a harmless value; then hundreds as a whole"


def test_what_is_found_for_the_harmless_value_is_not_handed_on(talk):
    def klaviyo(request):
        if any(value in request.path for value in ("p000", "p099")):
            return talk.refusal("filter")
        return knows_all(talk)(request)

    found, paths = looked_up(HUNDRED, klaviyo)
    assert sum(HARMLESS["email"] in path for path in paths) == 1
    assert sorted(one["id"] for one in found.profiles) == HUNDRED[1:99]


@pytest.mark.parametrize("bad", [HUNDRED, HUNDRED[::2], HUNDRED[:99]], ids=["all", "half", "99"])
def test_however_many_are_bad_no_good_one_is_refused(talk, bad):
    def klaviyo(request):
        if any(value in request.path for value in bad):
            return talk.refusal("filter")
        return knows_all(talk)(request)

    found, _ = looked_up(HUNDRED, klaviyo)
    assert sorted(found.failures) == bad
    assert sorted(one["id"] for one in found.profiles) == sorted({*HUNDRED} - {*bad})
