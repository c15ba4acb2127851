"""Refusals, and the JSON:API error documents that carry them.

Shape: `{"errors": [{id, status, code, title, detail, source, links, meta}]}`; `source` holds a
`pointer` into the body or the `parameter` of the query (Klaviyo OpenAPI 2026-07-15 and
recorded answers). Codes seen there: invalid, authentication_failed, not_found,
duplicate_profile, throttled.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

_TITLES = {
    "invalid": "Invalid input.",
    "authentication_failed": "Authentication credentials were not provided or are not valid.",
    "permission_denied": "You do not have permission to perform this action.",
    "not_found": "Not found.",
    "method_not_allowed": "Method not allowed.",
    "duplicate_profile": "Conflict.",
    "payload_too_large": "Payload too large.",
    "unsupported_media_type": "Unsupported media type.",
    "throttled": "Request was throttled.",
    "service_unavailable": "Service unavailable.",
    "error": "A server error occurred.",
}
_CODES = {
    400: "invalid",
    401: "authentication_failed",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    409: "duplicate_profile",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "throttled",
    503: "service_unavailable",
}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: where (a body pointer or a query parameter) and why."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    code: str | None = None
    meta: Mapping[str, Any] = {}

    def under(self, prefix: str) -> Fault:
        """The same fault, its pointer taken as relative to `prefix`."""
        return msgspec.structs.replace(self, pointer=prefix + (self.pointer or ""))


class Refusal(Exception):  # noqa: N818 - it is an answer, not a mistake
    """The answer is an error document with this status and these faults."""

    def __init__(self, status: int, *faults: Fault) -> None:
        """`status` is the HTTP status; one error object is written for each fault."""
        super().__init__(status, faults)
        self.status = status
        self.faults = faults


class Beneath:
    """Lets the faults of a refusal inside the block point beneath `prefix`.

    A class, not a generator: bulk requests enter it thousands of times.
    """

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        """`prefix` is the JSON pointer of the part that is being checked."""
        self._prefix = prefix

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Replace a refusal by one with longer pointers; let everything else pass."""
        if isinstance(error, Refusal):
            faults = (fault.under(self._prefix) for fault in error.faults)
            raise Refusal(error.status, *faults) from None


def invalid(detail: str, pointer: str = "") -> Refusal:
    """A 400 for one place in the body."""
    return Refusal(400, Fault(detail, pointer=pointer))


def bad_parameter(detail: str, parameter: str) -> Refusal:
    """A 400 for one parameter of the query."""
    return Refusal(400, Fault(detail, parameter=parameter))


def not_found(kind: str, identifier: str, pointer: str | None = None) -> Refusal:
    """A 404 that names what is absent."""
    detail = f"A {kind} with id {identifier} does not exist."
    return Refusal(404, Fault(detail, pointer=pointer))


def duplicate(profile_id: str, field: str) -> Refusal:
    """A 409: an identifier belongs to another profile, named in `meta`."""
    detail = f"A profile already exists with one of these identifiers: {field}."
    meta = {"duplicate_profile_id": profile_id}
    return Refusal(409, Fault(detail, pointer="/data/attributes", meta=meta))


def document(status: int, faults: tuple[Fault, ...]) -> bytes:
    """The error document of a refusal, encoded."""
    return msgspec.json.encode({"errors": [_error(status, fault) for fault in faults]})


def plain(status: int, detail: str) -> bytes:
    """The error document of a status that names no place."""
    return document(status, (Fault(detail),))


def _error(status: int, fault: Fault) -> dict[str, Any]:
    code = fault.code or _CODES.get(status, "error")
    error: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "status": status,
        "code": code,
        "title": _TITLES.get(code, "Error."),
        "detail": fault.detail,
        "source": {},
        "links": {},
        "meta": fault.meta,
    }
    if fault.pointer is not None:
        error["source"] = {"pointer": fault.pointer}
    elif fault.parameter is not None:
        error["source"] = {"parameter": fault.parameter}
    return error
