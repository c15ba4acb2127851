"""A sandbox with some people, and a reader whose rate limit is kept in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.klaviyo import Reader
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.settings import WorkerSettings


class Account:
    """What an account holds, made as others would make it: over HTTP."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._session = requests.Session()
        self._session.headers.update(
            {"Authorization": "Klaviyo-API-Key pk_test", "revision": "2026-07-15"}
        )

    def post(self, path: str, kind: str, attributes: Any, **more: Any) -> Any:
        """Create a resource; gives its document, if there is one."""
        body = {"data": {"type": kind, "attributes": attributes, **more}}
        answer = self._session.post(self.sandbox.url + path, json=body, timeout=10)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def person(self, email: str, **attributes: Any) -> str:
        """A profile; gives its id."""
        made = self.post("/api/profile-import", "profile", {"email": email, **attributes})
        return str(made["data"]["id"])

    def event(self, email: str, metric: str = "Placed Order", **attributes: Any) -> None:
        """An event."""
        whole = {
            "properties": {},
            "metric": {"data": {"type": "metric", "attributes": {"name": metric}}},
            "profile": {"data": {"type": "profile", "attributes": {"email": email}}},
            **attributes,
        }
        self.post("/api/events", "event", whole)

    def member(self, list_id: str, *profile_ids: str) -> None:
        """Members of a list, in that order."""
        for profile_id in profile_ids:
            path = f"/api/lists/{list_id}/relationships/profiles"
            body = {"data": [{"type": "profile", "id": profile_id}]}
            assert self._session.post(self.sandbox.url + path, json=body, timeout=10).ok

    def consent(self, kind: str, email: str, list_id: str | None = None) -> None:
        """Subscribe (`create`) or unsubscribe (`delete`)."""
        word = {"create": "SUBSCRIBED", "delete": "UNSUBSCRIBED"}[kind]
        subscriptions = {"email": {"marketing": {"consent": word}}}
        profile = {
            "type": "profile",
            "attributes": {"email": email, "subscriptions": subscriptions},
        }
        related = {"list": {"data": {"type": "list", "id": list_id}}} if list_id else None
        name = f"profile-subscription-bulk-{kind}-job"
        more = {"relationships": related} if related else {}
        self.post(f"/api/{name}s", name, {"profiles": {"data": [profile]}}, **more)

    def requests_to(self, endpoint: str) -> int:
        """Requests that the sandbox has seen, whatever it answered."""
        return sum(self.sandbox.summary()["requests"].get(endpoint, {}).values())

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


@pytest.fixture
def account(sandbox: Sandbox) -> Iterator[Account]:
    """See Account."""
    made = Account(sandbox)
    yield made
    made.close()


@pytest.fixture
def reader(sandbox: Sandbox, redis_url: str) -> Iterator[Reader]:
    """A reader of the sandbox, without much patience."""
    settings = WorkerSettings(
        redis_url=redis_url, api_url=sandbox.url, api_keys={"default": "pk_test"}
    )
    with Reader.from_settings(settings, patience=5.0) as made:
        yield made
