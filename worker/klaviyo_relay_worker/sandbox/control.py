"""The /sandbox/* endpoints, by which tests look inside and turn the switches.

They need no key, are not limited and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from .arrangements import Arranging, NewSegment, PushToken, Suppression
from .errors import plain
from .exchange import Answer, Request, answer
from .state import Minima, State

PREFIX = "/sandbox/"
_DEFAULT_TIMEOUT_SECONDS = 30.0


class _Use(msgspec.Struct, forbid_unknown_fields=True):
    """Calls that another integration makes with the same account."""

    endpoint: str
    calls: int


class Control:
    """Answers the control endpoints; any thread may ask."""

    def __init__(self, state: State) -> None:
        """Look into and turn `state`."""
        self._state = state
        self._actions: Mapping[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "summary"): self._summary,
            ("GET", "events"): self._events,
            ("GET", "profiles"): self._profiles,
            ("GET", "requests"): self._requests,
            ("GET", "wait"): self._wait,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "settings"): self._settings,
            ("POST", "settings"): self._configure,
            ("POST", "consume"): self._consume,
            ("POST", "segments"): partial(self._arrange, NewSegment),
            ("POST", "suppress"): partial(self._arrange, Suppression),
            ("POST", "push-tokens"): partial(self._arrange, PushToken),
            ("POST", "reset"): self._reset,
        }

    def handle(self, request: Request) -> Answer:
        """Answer one request; 400 for what cannot be understood, 404 for the unknown."""
        name = request.path.removeprefix(PREFIX).strip("/")
        action = self._actions.get((request.method, name))
        if action is None:
            return Answer(404, plain(404, f"There is no {request.method} {PREFIX}{name}."))
        try:
            return action(request)
        except (msgspec.DecodeError, ValueError) as error:
            return Answer(400, plain(400, str(error)))

    def _summary(self, _: Request) -> Answer:
        return answer(200, self._state.summary())

    def _events(self, request: Request) -> Answer:
        offset = _whole(request, "offset") or 0
        return answer(200, {"events": self._state.events(offset, _whole(request, "limit"))})

    def _profiles(self, _: Request) -> Answer:
        return answer(200, {"profiles": self._state.profiles()})

    def _requests(self, _: Request) -> Answer:
        with self._state.store.changed:
            entries = self._state.journal.entries()
        return answer(200, {"requests": entries})

    def _wait(self, request: Request) -> Answer:
        minima = Minima(
            events=_whole(request, "events") or 0,
            profiles=_whole(request, "profiles") or 0,
            requests=_whole(request, "requests") or 0,
            members=dict(_member_minimum(text) for text in request.query.get("members", ())),
        )
        given = request.query.get("timeout")
        timeout = float(given[-1]) if given else _DEFAULT_TIMEOUT_SECONDS
        met, summary = self._state.wait(minima, timeout)
        return answer(200 if met else 408, summary)

    def _faults(self, _: Request) -> Answer:
        return answer(200, self._state.faults.rules())

    def _set_faults(self, request: Request) -> Answer:
        return answer(200, self._state.set_faults(msgspec.json.decode(request.body)))

    def _clear_faults(self, _: Request) -> Answer:
        self._state.faults.set([])
        return Answer(204)

    def _settings(self, _: Request) -> Answer:
        return answer(200, self._state.settings)

    def _configure(self, request: Request) -> Answer:
        changes = msgspec.json.decode(request.body, type=dict[str, Any])
        return answer(200, self._state.configure(changes))

    def _consume(self, request: Request) -> Answer:
        use = msgspec.json.decode(request.body, type=_Use)
        return answer(200, {"used": self._state.use_up(use.endpoint, use.calls)})

    def _arrange(self, kind: type[Arranging], request: Request) -> Answer:
        return answer(201, self._state.arrange(msgspec.json.decode(request.body, type=kind)))

    def _reset(self, _: Request) -> Answer:
        self._state.reset()
        return Answer(204)


def _whole(request: Request, name: str) -> int | None:
    given = request.query.get(name)
    return int(given[-1]) if given else None


def _member_minimum(text: str) -> tuple[str, int]:
    """`LIST:N`, the list by id or name; a name may contain a colon itself."""
    name, colon, count = text.rpartition(":")
    if not colon:
        raise ValueError("members is given as LIST:N")
    return name, int(count)
