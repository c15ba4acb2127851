"""What goes through the sandbox: a request, the call it becomes, the answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from .settings import Settings
    from .store import Store


class Request(NamedTuple):
    """An HTTP request, read completely."""

    method: str
    path: str
    """Without the query, percent-decoded."""
    query: Mapping[str, tuple[str, ...]]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    too_large: bool = False
    """The body was longer than Klaviyo takes; `body` is empty then."""

    @property
    def origin(self) -> str:
        """Scheme and host for the links in answers."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    items: int | None = None
    """How many things the request carried, for the request log."""


class Call(NamedTuple):
    """A request that has found its operation."""

    request: Request
    store: Store
    settings: Settings
    ids: tuple[str, ...]
    """The variable parts of the path, in order."""
    revision: str

    @property
    def body(self) -> bytes:
        """The raw body."""
        return self.request.body

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter."""
        values = self.request.query.get(name)
        return values[-1] if values else None

    def names(self, name: str) -> frozenset[str]:
        """A query parameter that is a list with commas."""
        given = self.parameter(name)
        return frozenset(given.split(",")) if given else frozenset()


def answer(status: int, document: object, items: int | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(document), items=items)
