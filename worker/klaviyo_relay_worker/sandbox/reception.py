"""The way of a request: route, key, limits, faults, operation, log."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from .checks import MAX_BODY_BYTES
from .errors import Fault, Refusal, document, plain
from .exchange import Answer, Request
from .faults import Rule, items_at, refusal
from .journal import Entry, arrival
from .limits import Throttle
from .processing import process
from .routes import Operation, Route, find
from .state import State

_KEY = re.compile(r"Klaviyo-API-Key pk_\S+|Bearer \S+")
_REVISION = re.compile(r"\d{4}-\d{2}-\d{2}(\.\w+)?")
_MEDIA_TYPES = ("application/vnd.api+json", "application/json")
_NO_ENDPOINT = "unknown"


class Delivery(NamedTuple):
    """What to do with the connection."""

    answer: Answer | None
    """None: reset it."""
    seconds_per_byte: float = 0.0


class Reception:
    """Answers requests to the API; any thread may ask."""

    def __init__(self, state: State) -> None:
        """Serve the account in `state`."""
        self._state = state

    def handle(self, request: Request) -> Delivery:
        """Answer one request, or have its connection reset."""
        arrived = arrival()
        self._pause(self._state.settings.latency_seconds)
        operation: Operation | None = None
        rule: Rule | None = None
        headers: tuple[tuple[str, str], ...] = ()
        try:
            route = find(request.method, request.path)
            operation = route.operation
            headers = self._admit(request, operation)
            rule = self._state.faults.pick(operation.endpoint, request.body)
            answer = self._answer(request, route, rule)
        except Refusal as refused:
            headers += _retry_after(rule)
            answer = Answer(refused.status, document(refused.status, refused.faults))
        except _Throttled as throttled:
            answer = throttled.answer
        delivery = _delivery(answer._replace(headers=answer.headers + headers), rule)
        self._note(request, operation, answer, rule, arrived)
        if rule is not None and rule.action == "hang":
            self._pause(rule.seconds)
        return delivery

    def _admit(self, request: Request, operation: Operation) -> tuple[tuple[str, str], ...]:
        """Check the key and count the call; gives the headers that tell the limits."""
        key = request.headers.get("authorization", "")
        if not _KEY.fullmatch(key):
            raise Refusal(401, Fault("Missing or invalid private key.", pointer="/data/"))
        if not self._state.settings.limits:
            return ()
        taken = self._state.limits.take(key, operation.endpoint, operation.tier)
        if isinstance(taken, Throttle):
            raise _Throttled(taken.retry_after)
        return taken.headers

    def _answer(self, request: Request, route: Route, rule: Rule | None) -> Answer:
        if rule is not None:
            if rule.status is not None:
                raise Refusal(rule.status, Fault("A fault rule answers so."))
            if rule.action in ("reset", "hang"):
                return Answer(0)
            if rule.action == "delay":
                self._pause(rule.seconds)
        revision = _checked(request)
        if rule is not None and rule.action == "refuse":
            raise refusal(rule, route.operation.items, request.body)
        return process(self._state, request, route, revision)

    def _pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the sandbox."""
        if seconds > 0:
            self._state.stopping.wait(seconds)

    def _note(
        self,
        request: Request,
        operation: Operation | None,
        answer: Answer,
        rule: Rule | None,
        arrived: tuple[float, float],
    ) -> None:
        endpoint = operation.endpoint if operation else _NO_ENDPOINT
        items = answer.items
        if items is None and operation is not None and operation.items:
            items = len(items_at(operation.items, request.body))
        elif items is None:
            items = int(bool(request.body))
        entry = Entry(
            *arrived,
            request.method,
            endpoint,
            _outcome(answer, rule),
            items,
            len(request.body),
            by_rule=rule is not None and (rule.status is not None or rule.action == "refuse"),
            detail=_detail(answer),
        )
        self._state.note(entry)


class _Throttled(Exception):  # noqa: N818 - it is an answer, not a mistake
    """The call came too early: a 429 carries Retry-After and no RateLimit headers."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        detail = f"Request was throttled. Expected available in {seconds} second(s)."
        self.answer = Answer(429, plain(429, detail), (("Retry-After", str(seconds)),))


def _detail(answer: Answer) -> str:
    if answer.status < HTTPStatus.BAD_REQUEST:
        return ""
    first = msgspec.json.decode(answer.body)["errors"][0]
    place = first["source"].get("pointer") or first["source"].get("parameter") or ""
    return f"{first['detail']} {place}".rstrip()


def _checked(request: Request) -> str:
    """The revision, once size, type and revision are what Klaviyo takes."""
    if request.too_large:
        raise Refusal(413, Fault(f"The body is larger than {MAX_BODY_BYTES} bytes."))
    revision = request.headers.get("revision", "")
    if not _REVISION.fullmatch(revision):
        raise Refusal(400, Fault("A revision header (YYYY-MM-DD) is required.", pointer="/data/"))
    if request.body:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        # Whether Klaviyo takes gzip is not documented, so nothing may rely on it.
        encoding = request.headers.get("content-encoding", "identity")
        if media_type not in _MEDIA_TYPES or encoding != "identity":
            raise Refusal(415, Fault("Send plain application/vnd.api+json."))
    return revision


def _delivery(answer: Answer, rule: Rule | None) -> Delivery:
    if rule is None or rule.action is None:
        return Delivery(answer)
    if rule.action in ("reset", "lose_answer", "hang"):
        return Delivery(None)
    return Delivery(answer, rule.seconds_per_byte)


def _outcome(answer: Answer, rule: Rule | None) -> str:
    if rule is not None and rule.action in ("reset", "lose_answer", "hang"):
        return rule.action
    return str(answer.status)


def _retry_after(rule: Rule | None) -> tuple[tuple[str, str], ...]:
    if rule is None or rule.retry_after is None:
        return ()
    return (("Retry-After", str(rule.retry_after)),)
