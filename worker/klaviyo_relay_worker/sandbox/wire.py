"""HTTP/1.1 off and onto a socket: heads, bodies, answers.

The standard library's handler reads heads with its email parser, which takes longer than all
else a single event costs here; and it writes answers in several pieces, which meet Nagle's
algorithm and delayed acknowledgements.
"""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from io import BufferedIOBase
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from .checks import MAX_BODY_BYTES
from .errors import Fault, Refusal
from .exchange import Answer, Request

_MEDIA_TYPE = "application/vnd.api+json"
_LINE_BYTES, _MAX_HEADERS = 65_536, 100
_NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Head(NamedTuple):
    """The first line and the headers of a request."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    """By lower-case name; the last one of a name counts."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client means to send more on this connection."""
        connection = self.headers.get("connection", "").lower()
        if self.version == "HTTP/1.0":
            return connection == "keep-alive"
        return connection != "close"


def read_head(stream: BufferedIOBase) -> Head | None:
    """The next head; None at the end of the connection. Refuses what is no HTTP."""
    line = stream.readline(_LINE_BYTES)
    if not line:
        return None
    method, _, rest = line.decode("latin-1").rstrip().partition(" ")
    target, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise Refusal(400, Fault("The request line is not HTTP/1.1."))
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = stream.readline(_LINE_BYTES)
        if line in (b"\r\n", b"\n"):
            return Head(method, target, version, headers)
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            break
        headers[name.strip().lower()] = value.strip()
    raise Refusal(400, Fault("The headers are not HTTP/1.1."))


def read_request(head: Head, stream: BufferedIOBase, replies: BufferedIOBase) -> Request:
    """The request that `head` begins, with its body; `replies` gets a 100 if that is awaited."""
    length = head.headers.get("content-length", "0")
    if "transfer-encoding" in head.headers or not length.isdecimal():
        raise Refusal(411, Fault("A Content-Length is required.", code="length_required"))
    if head.headers.get("expect", "").lower() == "100-continue":
        replies.write(_CONTINUE)
    too_large = int(length) > MAX_BODY_BYTES
    if too_large:
        _drain(stream, int(length))
    body = b"" if too_large else stream.read(int(length))
    path, _, text = head.target.partition("?")
    query: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        query[name] = (*query.get(name, ()), value)
    return Request(head.method, unquote(path), query, head.headers, body, too_large)


def message(answer: Answer, *, last: bool) -> bytes:
    """The whole answer in one piece; `last` announces the end of the connection."""
    status = HTTPStatus(answer.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {formatdate(usegmt=True)}"]
    if answer.body:
        lines.append(f"Content-Type: {_MEDIA_TYPE}")
    if status not in _NO_BODY:
        lines.append(f"Content-Length: {len(answer.body)}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if last:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + answer.body


def _drain(stream: BufferedIOBase, length: int) -> None:
    """Read a body that is too large away, so that the client gets to read the answer."""
    while length > 0 and (piece := stream.read(min(length, _LINE_BYTES))):
        length -= len(piece)
