"""The forms: what the page changes. Each has come through the guard, with its token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from klaviyo_relay_worker.dashboard.actions import Actions, Choice
from klaviyo_relay_worker.dashboard.audit import Act, log
from klaviyo_relay_worker.dashboard.groups import Head
from klaviyo_relay_worker.dashboard.overview import Overviews
from klaviyo_relay_worker.dashboard.rendering import html
from klaviyo_relay_worker.dashboard.security import keep_session, remote_address
from klaviyo_relay_worker.dashboard.sessions import Sessions
from klaviyo_relay_worker.dashboard.views import Views
from klaviyo_relay_worker.dead_letters import DeadLetter

# A command may have megabytes, and a telephone little memory.
PAYLOAD_SHOWN = 65_536
_WRONG = "This is not the token."
_TOO_MANY = "Too many wrong tokens. Wait a minute, then try again."
_Moves = Callable[[Choice, Sequence[Head], str], str]
_Switches = Callable[[str, str | None, str], str]


class Forms:
    """Does what the forms of the views ask for."""

    def __init__(
        self, views: Views, overviews: Overviews, actions: Actions, sessions: Sessions
    ) -> None:
        self._views = views
        self._overviews = overviews
        self._actions = actions
        self._sessions = sessions

    def redrive(self, request: Request) -> Response:
        """The letters that were counted go back into their lane."""
        return self._move(request, self._actions.redrive)

    def discard(self, request: Request) -> Response:
        """The letters that were counted are deleted."""
        return self._move(request, self._actions.discard)

    def pause(self, request: Request) -> Response:
        """An account, or one of its lanes, stops."""
        return self._switch(request, self._actions.pause)

    def resume(self, request: Request) -> Response:
        """An account, or one of its lanes, goes on."""
        return self._switch(request, self._actions.resume)

    def reveal(self, request: Request) -> Response:
        """One letter with its command."""
        choice = self._views.choice(request.state.form)
        letter = self._actions.reveal(choice, remote_address(request))
        if letter is None:
            raise HTTPException(404, "It is no dead letter any more.")
        self._overviews.expire()
        text = _payload(letter)
        values = {"letter": letter, "choice": choice, "payload": text[:PAYLOAD_SHOWN]}
        is_cut = len(text) > PAYLOAD_SHOWN
        return html("letter.html", **self._views.common(request), **values, is_cut=is_cut)

    def login(self, request: Request) -> Response:
        """Open a session for whoever knows the token."""
        who = remote_address(request)
        address = request.client.host if request.client else ""
        if not self._sessions.may_try(address):
            log(Act(who=who, what="login", target="dashboard", note="too many wrong tokens"))
            return html("login.html", 429, **self._views.common(request), problem=_TOO_MANY)
        session = self._sessions.open(request.state.form.get("token", ""))
        if session is None:
            self._sessions.note_wrong(address)
            log(Act(who=who, what="login", target="dashboard", note="wrong token"))
            return html("login.html", 403, **self._views.common(request), problem=_WRONG)
        log(Act(who=who, what="login", target="dashboard", count=1))
        answer = RedirectResponse("/", 303)
        keep_session(answer, request, session)
        return answer

    def logout(self, request: Request) -> Response:
        """End the session."""
        self._sessions.close(request.state.session)
        answer = RedirectResponse("/", 303)
        keep_session(answer, request, "")
        return answer

    def _move(self, request: Request, act: _Moves) -> Response:
        form = request.state.form
        choice = self._views.choice(form)
        count, until = _counted(form)
        # Nobody has agreed to more than were counted, nor to what came since.
        heads = self._actions.choose(choice, until).heads[:count]
        return self._done(act(choice, heads, remote_address(request)))

    def _switch(self, request: Request, act: _Switches) -> Response:
        form = request.state.form
        account, lane = form.get("account", ""), form.get("lane") or None
        return self._done(act(account, lane, remote_address(request)))

    def _done(self, entry: str) -> Response:
        """Back to the page, which tells by the audit's entry what was done."""
        self._overviews.expire()
        return RedirectResponse(f"/?done={entry}", 303)


def _payload(letter: DeadLetter) -> str:
    """The command as JSON, or what came in its place."""
    if letter.envelope is None:
        return letter.message or ""
    return msgspec.json.format(msgspec.json.encode(letter.envelope), indent=2).decode()


def _counted(form: dict[str, str]) -> tuple[int, float]:
    """How many letters a person has agreed to, and when the latest of them died."""
    try:
        return max(0, int(form["count"])), float(form["until"])
    except (KeyError, ValueError):
        raise HTTPException(400, "Count the dead letters first.") from None
