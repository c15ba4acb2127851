"""The views: what the page shows. What it changes is in `forms`."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct
from redis import Redis
from redis.exceptions import ResponseError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.dashboard.actions import Actions, Choice
from klaviyo_relay_worker.dashboard.audit import Audit
from klaviyo_relay_worker.dashboard.groups import groups_of, masked_words
from klaviyo_relay_worker.dashboard.overview import LaneView, Overview, Overviews
from klaviyo_relay_worker.dashboard.rendering import html
from klaviyo_relay_worker.dashboard.sessions import Sessions
from klaviyo_relay_worker.status import Status

LETTERS_SHOWN = 50
_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


class Question(Struct, frozen=True):
    """What a person is asked before something is changed.

    Attributes:
        what: redrive, discard, pause, resume.
        target: in words.
        text: what will happen, with the count.
        fields: of the form that says yes.
    """

    what: str
    target: str
    text: str
    fields: dict[str, Any]


class Views:
    """Shows what is in one Redis."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        overviews: Overviews,
        actions: Actions,
        sessions: Sessions,
        *,
        server: str,
    ) -> None:
        self._status = Status(redis, keys)
        self._audit = Audit(redis, keys)
        self._server = server
        self._overviews = overviews
        self._actions = actions
        self._sessions = sessions

    def page(self, request: Request) -> Response:
        """Everything at one glance."""
        done = request.query_params.get("done", "")
        entry = self._audit.find(done) if _ENTRY_ID.fullmatch(done) else None
        look = self._overviews.look()
        return html("page.html", **self.common(request), look=look, done=entry)

    def live(self, request: Request) -> Response:
        """The part of the page that changes, for its script."""
        return html("live.html", **self.common(request), look=self._overviews.look())

    def letters(self, request: Request) -> Response:
        """The letters of one group, newest first, without their commands."""
        chosen = self._actions.choose(self.choice(request.query_params))
        if not chosen.heads:
            raise HTTPException(404, "There are no such dead letters any more.")
        values = {
            "group": groups_of(chosen.heads)[0],
            "heads": chosen.heads[: -LETTERS_SHOWN - 1 : -1],
            "is_all": chosen.is_all,
            "mask": masked_words,
        }
        return html("letters.html", **self.common(request), **values)

    def confirm(self, request: Request) -> Response:
        """Ask before something is changed, with the count."""
        given = request.query_params
        what = given.get("what", "")
        if what in ("redrive", "discard"):
            question = self._about_letters(what, self.choice(given))
        elif what in ("pause", "resume"):
            question = self._about_lanes(what, given.get("account", ""), given.get("lane", ""))
        else:
            raise HTTPException(404, "There is no such thing to do.")
        return html("confirm.html", **self.common(request), question=question)

    def login(self, request: Request) -> Response:
        """Ask for the token."""
        return html("login.html", **self.common(request), problem="")

    def redis_is_away(self, request: Request, error: Exception) -> Response:
        """Say so; the script tries again by itself."""
        name = "away.html" if request.url.path == "/live" else "away_page.html"
        does = "refuses" if isinstance(error, ResponseError) else "does not answer"
        return html(name, 503, **self.common(request), does=does, reason=str(error))

    def failed(self, request: Request, error: Exception) -> Response:
        """Say what cannot be done."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        text = error.detail if isinstance(error, HTTPException) else str(error)
        return html("failed.html", status, **self.common(request), text=text)

    def common(self, request: Request) -> dict[str, Any]:
        """What every page needs."""
        session = request.state.session
        token = self._sessions.form_token(session)
        return {"server": self._server, "form_token": token, "has_session": bool(session)}

    def choice(self, given: Any) -> Choice:
        """The dead letters that a request names."""
        lane, group, identity = (given.get(name, "") for name in ("lane", "group", "id"))
        if lane not in self._status.lanes() or bool(group) == bool(identity):
            raise HTTPException(404, "There are no such dead letters.")
        return Choice(lane, group, identity)

    def _about_letters(self, what: str, choice: Choice) -> Question:
        chosen = self._actions.choose(choice)
        count = len(chosen.heads)
        if not count:
            raise HTTPException(404, "There are no such dead letters any more.")
        target = f"{choice.lane}, {choice.id}" if choice.id else _words(chosen.heads)
        text = f"{count:,} dead {'letter' if count == 1 else 'letters'}"
        if not chosen.is_all:
            text = f"The first {text}; there may be more"
        fields = {
            "lane": choice.lane,
            "group": choice.group,
            "id": choice.id,
            "count": count,
            "until": repr(chosen.until),
        }
        return Question(what, target, text, fields)

    def _about_lanes(self, what: str, account: str, lane: str) -> Question:
        lanes = [
            one
            for one in _lanes_of(self._overviews.look(), account)
            if not lane or one.lane == lane
        ]
        if not lanes:
            raise HTTPException(404, "There is no such lane.")
        waiting = sum(one.numbers["backlog"] for one in lanes)
        target = f"the lane {account}:{lane}" if lane else f"the account {account}"
        text = f"{waiting:,} commands in {len(lanes)} {'lane' if len(lanes) == 1 else 'lanes'}"
        return Question(what, target, text, {"account": account, "lane": lane})


def _words(heads: list[Any]) -> str:
    cause = groups_of(heads)[0].cause
    return " ".join(filter(None, (cause.lane, str(cause.status or ""), cause.code, cause.pointer)))


def _lanes_of(look: Overview, account: str) -> list[LaneView]:
    return [lane for one in look.accounts if one.name == account for lane in one.lanes]
