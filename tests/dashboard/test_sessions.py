"""Who has given the token, and who has not."""

from __future__ import annotations

import logging

import pytest

from klaviyo_relay_worker.dashboard.sessions import COOKIE, Sessions

SECRET = "correct-horse-battery"
YES = {"account": "default"}


@pytest.fixture
def guarded(dashboard_of, redis_url):
    """A dashboard that asks for a token."""
    return dashboard_of(redis_url, token=SECRET, names=("relay.shop.io",))


def sign_in(dashboard, token=SECRET, **headers):
    return dashboard.post("/login", {"token": token}, **headers)


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
