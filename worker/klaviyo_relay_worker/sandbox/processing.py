"""Processing: the operation that a request means, recorded if the account is to outlive us."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .exchange import Answer, Call, Request
from .novelties import with_novelties
from .recording import Arranged, Line, Processed, Reset, Turned, lines
from .routes import Route, find

if TYPE_CHECKING:
    from .state import State

_REVISION = "2026-07-15"


def process(state: State, request: Request, route: Route, revision: str) -> Answer:
    """Run the operation; may refuse. What changes the account is recorded before it returns."""
    answer = _run(state, request, route, revision)
    return with_novelties(answer) if state.settings.unknown_fields else answer


def _run(state: State, request: Request, route: Route, revision: str) -> Answer:
    call = Call(request, state.store, state.settings, route.ids, revision)
    only_reads = request.method == "GET" or route.operation.only_reads
    if state.recording is None or only_reads:
        return route.operation.run(call)
    # Under the store's lock, so that the record has the order in which things happened.
    with state.store.changed, state.clock.held() as now:
        answer = route.operation.run(call)
        state.recording.note(
            Processed(
                at=now,
                method=request.method,
                path=request.path,
                query=dict(request.query),
                revision=revision,
                body=request.body.decode(),
            )
        )
    return answer


def replay(state: State, path: Path) -> None:
    """Do again what a file has recorded; the account is then as it was, and so are its settings."""
    for line in lines(path):
        replay_line(state, line)


def replay_line(state: State, line: Line) -> None:
    """Do one recorded thing again."""
    match line:
        case Turned():
            with state.store.changed, state.clock.held(line.at):
                state.store.jobs.finish_due(line.at)
            state.turn(line.settings)
        case Reset():
            state.reset()
        case Arranged():
            with state.clock.held(line.at), state.store.open() as now:
                line.what.arrange(state.store, now)
        case Processed():
            request = Request(line.method, line.path, line.query, {}, line.body.encode())
            with state.store.changed, state.clock.held(line.at):
                process(state, request, find(line.method, line.path), line.revision)


def list_creation(name: str, opt_in_process: str) -> tuple[Request, Route, str]:
    """What `process` needs to make a list."""
    attributes = {"name": name, "opt_in_process": opt_in_process}
    body = msgspec.json.encode({"data": {"type": "list", "attributes": attributes}})
    request = Request("POST", "/api/lists", {}, {}, body)
    return request, find("POST", "/api/lists"), _REVISION
