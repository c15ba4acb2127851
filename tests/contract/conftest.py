"""A sandbox, a plain HTTP client for it, a clock turned by hand, and request bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from klaviyo_relay_worker.sandbox import Sandbox

Json = dict[str, Any]


class HandClock:
    """Epoch seconds that move only when a test says so."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        """Start at the beginning of a minute and a second."""
        self.now = now

    def __call__(self) -> float:
        """Give the present instant."""
        return self.now

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Api:
    """Calls the sandbox as a careful client would, without any retry."""

    def __init__(self, url: str) -> None:
        """Use a private key and the pinned revision."""
        self.url = url
        self.session = requests.Session()
        self.session.headers.update(
            {
                "Authorization": "Klaviyo-API-Key pk_test",
                "revision": "2026-07-15",
                "Content-Type": "application/vnd.api+json",
            }
        )

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Send one request; `options` go to requests."""
        options.setdefault("timeout", 10)
        return self.session.request(method, self.url + path, json=body, **options)

    def get(self, path: str, **params: Any) -> Json:
        """Get a document; dots in parameter names are written with two underscores."""
        answer = self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        document: Json = answer.json()
        return document

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        """Post a body."""
        return self.call("POST", path, body, **options)

    def pointers(self, path: str, body: Any, status: int = 400) -> list[str]:
        """Post a body that must be refused; gives where its faults are."""
        answer = self.post(path, body)
        assert answer.status_code == status, answer.text
        return [error["source"].get("pointer", "") for error in answer.json()["errors"]]

    def profile_of(self, email: str) -> Json:
        """The one profile with this email, with its subscriptions."""
        wanted = {"additional-fields[profile]": "subscriptions"}
        found = self.get("/api/profiles", filter=f'equals(email,"{email}")', **wanted)
        [one] = found["data"]
        profile: Json = one
        return profile

    def marketing(self, email: str) -> Json:
        """The email marketing consent of a profile."""
        consent: Json = self.profile_of(email)["attributes"]["subscriptions"]["email"]["marketing"]
        return consent


class Bodies:
    """Request bodies as small as they may be, plus what a test adds."""

    @staticmethod
    def profile(meta: Json | None = None, **attributes: Any) -> Json:
        """A profile resource; `id` goes beside the attributes."""
        identifier = attributes.pop("id", None)
        made: Json = {"type": "profile", "attributes": attributes}
        if identifier:
            made["id"] = identifier
        if meta:
            made["meta"] = meta
        return made

    @staticmethod
    def event_attributes(name: str = "Placed Order", **more: Any) -> Json:
        """The attributes of an event, without its profile."""
        metric = {"data": {"type": "metric", "attributes": {"name": name}}}
        return {"properties": {}, "metric": metric, **more}

    def event(self, email: str = "ada@shop.io", **more: Any) -> Json:
        """A single event."""
        attributes = self.event_attributes(**more)
        attributes.setdefault("profile", {"data": self.profile(email=email)})
        return {"data": {"type": "event", "attributes": attributes}}

    def entry(self, email: str = "ada@shop.io", **more: Any) -> Json:
        """An entry of a bulk request, with one event."""
        profile = more.pop("profile", None) or self.profile(email=email)
        events = [{"type": "event", "attributes": self.event_attributes(**more)}]
        attributes = {"profile": {"data": profile}, "events": {"data": events}}
        return {"type": "event-bulk-create", "attributes": attributes}

    @staticmethod
    def bulk(*entries: Json) -> Json:
        """A bulk request."""
        attributes = {"events-bulk-create": {"data": list(entries)}}
        return {"data": {"type": "event-bulk-create-job", "attributes": attributes}}

    @staticmethod
    def import_job(*rows: Json, lists: tuple[str, ...] = ()) -> Json:
        """A bulk import."""
        data: Json = {
            "type": "profile-bulk-import-job",
            "attributes": {"profiles": {"data": list(rows)}},
        }
        if lists:
            references = [{"type": "list", "id": one} for one in lists]
            data["relationships"] = {"lists": {"data": references}}
        return {"data": data}

    @staticmethod
    def new_list(name: str, **more: Any) -> Json:
        """A new list."""
        return {"data": {"type": "list", "attributes": {"name": name, **more}}}

    @staticmethod
    def members(*ids: str) -> Json:
        """Profiles by id."""
        return {"data": [{"type": "profile", "id": one} for one in ids]}

    @staticmethod
    def subscriber(email: str, consented_at: str | None = None, **more: Any) -> Json:
        """Someone who subscribes to email."""
        marketing: Json = {"consent": "SUBSCRIBED"}
        if consented_at:
            marketing["consented_at"] = consented_at
        subscriptions = {"email": {"marketing": marketing}}
        attributes = {"email": email, "subscriptions": subscriptions, **more}
        return {"type": "profile", "attributes": attributes}

    @staticmethod
    def unsubscriber(email: str) -> Json:
        """Someone who unsubscribes from email."""
        subscriptions = {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}
        attributes = {"email": email, "subscriptions": subscriptions}
        return {"type": "profile", "attributes": attributes}

    @staticmethod
    def consent_job(kind: str, *profiles: Json, on: str | None = None, **more: Any) -> Json:
        """A subscribe (`create`) or unsubscribe (`delete`) job."""
        data: Json = {
            "type": f"profile-subscription-bulk-{kind}-job",
            "attributes": {"profiles": {"data": list(profiles)}, **more},
        }
        if on:
            data["relationships"] = {"list": {"data": {"type": "list", "id": on}}}
        return {"data": data}

    def suppression_job(self, kind: str, *emails: str) -> Json:
        """A suppress (`create`) or unsuppress (`delete`) job."""
        profiles = [self.profile(email=email) for email in emails]
        attributes = {"profiles": {"data": profiles}}
        return {"data": {"type": f"profile-suppression-bulk-{kind}-job", "attributes": attributes}}

    @staticmethod
    def aggregate(metric_id: str, since: str, until: str, *filters: str, **more: Any) -> Json:
        """A query for counts of a metric."""
        span = (f"greater-or-equal(datetime,{since})", f"less-than(datetime,{until})")
        attributes = {"metric_id": metric_id, "measurements": ["count"], **more}
        attributes["filter"] = [*span, *filters]
        return {"data": {"type": "metric-aggregate", "attributes": attributes}}

    def deletion(self, **identifiers: str) -> Json:
        """A deletion by id, email or phone_number."""
        attributes = {"profile": {"data": self.profile(**identifiers)}}
        return {"data": {"type": "data-privacy-deletion-job", "attributes": attributes}}


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands still until it is turned."""
    return HandClock()


@pytest.fixture
def sandbox(clock: HandClock) -> Iterator[Sandbox]:
    """A sandbox without rate limits, its time in the test's hands."""
    with Sandbox(limits=False, clock=clock) as running:
        yield running


@pytest.fixture
def limited(clock: HandClock) -> Iterator[Sandbox]:
    """A sandbox with Klaviyo's rate limits."""
    with Sandbox(clock=clock) as running:
        yield running


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    """A client of the sandbox without limits."""
    return Api(sandbox.url)


@pytest.fixture
def limited_api(limited: Sandbox) -> Api:
    """A client of the sandbox with limits."""
    return Api(limited.url)


@pytest.fixture
def make() -> Bodies:
    """Builders of request bodies."""
    return Bodies()
