"""The guard before every view: hosts, origins, sessions, forms, and the headers of all answers.

Host         one of ours: a foreign name that points here (DNS rebinding) is refused
session      where a token is set, nothing but the form that asks for it is shown without one
Origin       a form that was sent from somebody else's page is refused
form token   and so is one that does not carry the token of our own pages
headers      nothing is kept, framed, sniffed, told to others or run that is not ours
"""

from __future__ import annotations

from collections.abc import MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from klaviyo_relay_worker.dashboard.binding import Binding, host_name, is_loopback
from klaviyo_relay_worker.dashboard.sessions import COOKIE, LASTS_SECONDS, Sessions

FORM_BYTES_MOST = 16_384
LOGIN = "/login"
_OPEN_PATHS = (LOGIN, "/static/")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets through to the views only what may get there.

    A view finds the fields of a form in `request.state.form`, and the session, which is "" where
    none is needed, in `request.state.session`.
    """

    def __init__(self, app: ASGIApp, binding: Binding, sessions: Sessions) -> None:
        self._app = app
        self._binding = binding
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await self._refusal(request) or self._app
        await answer(scope, receive, _with_headers(send))

    async def _refusal(self, request: Request) -> Response | None:
        if not self._binding.allows(host_name(request.headers.get("host", ""))):
            return PlainTextResponse("The dashboard is not known by this name.", 421)
        session = request.cookies.get(COOKIE, "")
        is_known = self._sessions.has(session)
        request.state.session = session if is_known else ""
        request.state.form = {}
        if self._sessions.are_needed and not is_known and not _is_open(request.url.path):
            return _ask_for_token(request)
        if request.method in ("GET", "HEAD"):
            return None
        return await self._refusal_of_form(request)

    async def _refusal_of_form(self, request: Request) -> Response | None:
        if not is_from_here(request):
            return PlainTextResponse("This came from another site's page.", 403)
        form = await _form(request)
        if form is None:
            return PlainTextResponse("This is no form of the dashboard's.", 413)
        # Nobody has a session before the login; whoever could forge it would need the token.
        is_login = request.url.path == LOGIN
        given = form.get("form_token", "")
        if not is_login and not self._sessions.is_form_token(request.state.session, given):
            return PlainTextResponse("The page is out of date: go back, reload it, try again.", 403)
        request.state.form = form
        return None


def is_from_here(request: Request) -> bool:
    """Whether a request was sent by one of our own pages, as far as the browser tells.

    Browsers say so in Sec-Fetch-Site (not over plain http to other machines). As our pages send no
    referrer, their Origin may be "null", as it is of a stranger's sandboxed frame: then the token
    in the form decides alone.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "null")
    return origin == "null" or urlsplit(origin).netloc == request.headers.get("host")


def remote_address(request: Request) -> str:
    """Whoever sent a request, for the audit; what a proxy says of it is shown as such."""
    client = request.client.host if request.client else "unknown"
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        return f"{client} for {ip_address(forwarded)}"
    except ValueError:
        return client


def keep_session(response: Response, request: Request, session: str) -> None:
    """Give the browser a session, or with "" take it away."""
    response.set_cookie(
        COOKIE,
        session,
        max_age=LASTS_SECONDS if session else 0,
        httponly=True,
        samesite="strict",
        secure=not is_loopback(host_name(request.headers.get("host", ""))),
    )


def _is_open(path: str) -> bool:
    return path == LOGIN or path.startswith(_OPEN_PATHS[1])


def _ask_for_token(request: Request) -> Response:
    if request.method == "GET" and request.url.path == "/":
        return RedirectResponse(LOGIN, 303)
    return PlainTextResponse("Sign in first.", 401)


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form; None if it is none, or too large."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MOST:
            return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers
