"""Who gets in, by which name, from which page, and what browsers are told."""

from __future__ import annotations

import logging

import pytest

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.dashboard.binding import TOKEN, Binding, host_name, is_loopback
from klaviyo_relay_worker.dashboard.sessions import COOKIE, Sessions

SECRET = "correct-horse-battery"
YES = {"account": "default"}


@pytest.fixture
def guarded(dashboard_of, redis_url):
    """A dashboard that asks for a token."""
    return dashboard_of(redis_url, token=SECRET, names=("relay.shop.io",))


def sign_in(dashboard, token=SECRET, **headers):
    return dashboard.post("/login", {"token": token}, **headers)


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
def test_this_machines_own_names_are_not(dashboard, host):
    assert dashboard.get("/", host=host).status_code == 200


def test_beyond_loopback_addresses_and_given_names_are_allowed():
    open_to_all = Binding(host="0.0.0.0", token=SECRET, names=("relay.shop.io",))  # noqa: S104 - never listened at
    allowed = [
        name
        for name in ("relay.shop.io", "10.1.2.3", "fe80::1", "localhost", "evil.io", "")
        if open_to_all.allows(name)
    ]
    assert allowed == ["relay.shop.io", "10.1.2.3", "fe80::1", "localhost"]


@pytest.mark.parametrize(
    ("header", "name"),
    [("A.io:1", "a.io"), ("[::1]:8", "::1"), ("[::1]", "::1"), ("a.io", "a.io"), ("", "")],
)
def test_the_name_in_a_host_header(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("name", "is_so"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("LOCALHOST", True), ("::1", True),
     ("::", False), ("10.0.0.1", False), ("example", False)],
)  # fmt: skip
def test_what_is_loopback(name, is_so):
    assert is_loopback(name) is is_so


@pytest.mark.parametrize(
    ("host", "names", "token"),
    [
        ("0.0.0.0", (), ""),  # noqa: S104 - never listened at
        ("10.0.0.1", (), "short"),
        ("127.0.0.1", (), "fifteen-letters"),
        ("127.0.0.1", ("relay.shop.io",), ""),
    ],
)
def test_it_does_not_start_without_a_good_token_where_it_needs_one(host, names, token):
    with pytest.raises(ConfigurationError, match=TOKEN):
        Binding.from_env(host, 0, names, {TOKEN: token})


def test_with_one_it_does():
    made = Binding.from_env("0.0.0.0", 0, (), {TOKEN: "sixteen-letters!"})  # noqa: S104 - never listened at
    assert made.token == "sixteen-letters!"
    assert Binding.from_env(environ={}).token == ""


def test_without_the_token_nothing_is_shown(guarded, stock):
    stock.wait()
    assert guarded.get("/").headers["location"] == "/login"
    for path in (
        "/live",
        "/letters?lane=default:events&group=x",
        "/confirm?what=pause&account=default",
        "/x",
    ):
        answer = guarded.get(path)
        assert (answer.status_code, "default" in answer.text) == (401, False), path
    for path in ("/pause", "/reveal", "/logout"):
        assert guarded.post(path, YES).status_code == 401
    assert not stock.is_paused()


def test_the_token_opens_a_session_that_scripts_cannot_read(guarded, stock):
    stock.wait()
    opened = sign_in(guarded)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie, "this machine speaks plain http"
    assert guarded.get("/").status_code == 200
    assert guarded.confirmed(what="pause", account="default")[1].status_code == 303
    assert stock.is_paused()


def test_beyond_this_machine_the_cookie_needs_https(guarded):
    assert "Secure" in sign_in(guarded, host="relay.shop.io").headers["set-cookie"]


def test_signing_out_ends_the_session(guarded, stock):
    stock.wait()
    sign_in(guarded)
    session = guarded.browser.cookies[COOKIE]
    token = guarded.form_token()
    assert guarded.post("/logout", {"form_token": token}).status_code == 303
    guarded.browser.cookies.set(COOKIE, session)
    assert guarded.get("/").headers["location"] == "/login"


@pytest.mark.parametrize("token", ["", "guessed", SECRET[:-1], SECRET + "x", "é" * 20])
def test_a_wrong_token_opens_nothing_and_is_logged(guarded, caplog, token):
    with caplog.at_level(logging.INFO):
        refused = sign_in(guarded, token)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    assert "This is not the token." in refused.text
    assert "dashboard.action login dashboard by 127.0.0.1" in caplog.text
    if token:
        assert token not in caplog.text


def test_who_guesses_has_to_wait(guarded):
    codes = [sign_in(guarded, f"wrong{n}").status_code for n in range(7)]
    assert codes == [403] * 5 + [429] * 2
    assert sign_in(guarded).status_code == 429


def test_made_up_cookies_are_no_sessions(guarded):
    guarded.browser.cookies.set(COOKIE, "made-up")
    assert guarded.get("/live").status_code == 401


def test_sessions_have_tokens_of_their_own():
    sessions = Sessions(SECRET)
    one, other = sessions.open(SECRET), sessions.open(SECRET)
    assert sessions.is_form_token(one, sessions.form_token(one))
    assert not sessions.is_form_token(one, sessions.form_token(other))
    assert not sessions.is_form_token(one, "")


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


def test_one_from_our_own_is_not(dashboard, stock):
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


def test_only_the_two_files_are_served(dashboard):
    assert dashboard.get("/static/dashboard.css").headers["content-type"].startswith("text/css")
    for path in ("/static/app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py"):
        assert dashboard.get(path).status_code == 404
