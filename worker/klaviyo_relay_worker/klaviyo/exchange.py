"""A request to Klaviyo and its answer, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct


class Request(Struct, frozen=True, kw_only=True):
    """One call.

    Attributes:
        endpoint: method and path template, such as "GET /api/lists/{id}".
        path: the real path, with its query already encoded.
        body: JSON, or None.
        items: how many commands it carries.
        limit: the name of the rate limit, where it is not the endpoint's; see `quota_key`.
    """

    endpoint: str
    path: str
    body: bytes | None = None
    items: int = 1
    limit: str = ""

    @property
    def quota_key(self) -> str:
        """By what quotas count it: the endpoint, unless a parameter has a limit of its own."""
        return self.limit or self.endpoint

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.endpoint.partition(" ")[0]


class Answer(Struct, frozen=True):
    """What came back.

    Attributes:
        status: HTTP status.
        headers: with lower-case names.
        body: bytes as they came, possibly none.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_accepted(self) -> bool:
        """Whether Klaviyo took it: any 2xx."""
        return 200 <= self.status < 300

    def document(self) -> Any:
        """The body as JSON; an empty object where there is none, or none that can be read."""
        try:
            return msgspec.json.decode(self.body) if self.body else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
