"""A form comes from our own page, with its token, or is refused."""

from __future__ import annotations

import pytest

YES = {"account": "default"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.io"},
        {"origin": "http://localhost:3000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "cross-site", "origin": "null"},
    ],
    ids=str,
)
def test_a_form_from_another_sites_page_is_refused(dashboard, stock, headers):
    stock.wait()
    form = {"form_token": dashboard.form_token(), **YES}
    assert dashboard.post("/pause", form, **headers).status_code == 403
    assert not stock.is_paused()


def test_a_form_from_our_own_page_is_taken(dashboard, stock):
    stock.wait()
    form = {"form_token": dashboard.form_token(), **YES}
    for headers in (
        {"sec_fetch_site": "same-origin", "origin": "null"},
        {"origin": dashboard.url},
        {},
    ):
        assert dashboard.post("/pause", form, **headers).status_code == 303
        assert stock.is_paused()
        assert dashboard.post("/resume", form, **headers).status_code == 303


@pytest.mark.parametrize("token", [None, "", "0" * 64])
def test_a_form_without_our_token_is_refused(dashboard, stock, token):
    stock.wait()
    form = YES if token is None else {**YES, "form_token": token}
    for path in ("/pause", "/resume", "/redrive", "/discard", "/reveal", "/logout"):
        assert dashboard.post(path, form).status_code == 403
    assert not stock.is_paused()


def test_what_is_no_form_or_too_large_is_refused(dashboard):
    as_json = dashboard.browser.post(dashboard.url + "/pause", json=YES, timeout=20)
    assert as_json.status_code == 413
    assert dashboard.post("/pause", {"x": "y" * 20_000}).status_code == 413


def test_looking_changes_nothing(dashboard, stock):
    stock.wait()
    for path in ("/pause", "/resume", "/redrive", "/discard", "/reveal", "/logout"):
        assert dashboard.get(f"{path}?account=default").status_code == 405
    assert not stock.is_paused()
