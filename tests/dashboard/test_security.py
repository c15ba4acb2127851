"""The guard before every view: foreign names, and what browsers are told."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("path", ["/", "/live", "/static/dashboard.js", "/nowhere", "/login"])
def test_every_answer_carries_the_headers(dashboard, path):
    headers = dashboard.get(path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
        "img-src": "'self' data:", "connect-src": "'self'", "form-action": "'self'",
        "base-uri": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "server" not in headers


def test_refusals_carry_the_headers_too(dashboard):
    for answer in (dashboard.get("/", host="evil.io"), dashboard.post("/pause")):
        assert answer.status_code >= 400
        assert answer.headers["X-Frame-Options"] == "DENY"


def test_nothing_in_the_page_is_inline(dashboard, stock):
    stock.die(1)
    page = dashboard.get("/").text
    assert " style=" not in page
    assert " on" not in [word[:3] for word in page.split() if "=" in word]
    assert page.count("<script") == page.count("<script src=") == 1


@pytest.mark.parametrize(
    "host", ["evil.io", "localhost.evil.io", "10.0.0.1:8765", "127.0.0.1.evil.io", ""]
)
def test_a_foreign_name_is_refused(dashboard, host):
    answer = dashboard.get("/", host=host)
    assert answer.status_code in (400, 421)
    assert "lane" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1", "[::1]:8765"])
def test_this_machines_own_names_are_answered(dashboard, host):
    assert dashboard.get("/", host=host).status_code == 200


def test_only_the_two_files_are_served(dashboard):
    assert dashboard.get("/static/dashboard.css").headers["content-type"].startswith("text/css")
    for path in ("/static/app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py"):
        assert dashboard.get(path).status_code == 404
