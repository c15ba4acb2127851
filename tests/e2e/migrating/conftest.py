"""Accounts at Klaviyo with people in them, and two ways to them: the old client, and today's."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from klaviyo_relay import Producer, Settings
from klaviyo_relay.keys import split
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.reader import Reader
from klaviyo_relay_worker.legacy import Klaviyo
from klaviyo_relay_worker.planner import Planner
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status

ADA, BOB, CAROL = "ada@lovelace.dev", "bob@lovelace.dev", "carol@lovelace.dev"
PHONE, HERS = "+15005550006", "+15005550007"
TWO_HOURS_AGO = int(time.time()) - 7_200
# Of a read, for the rate limit and for Klaviyo to mend: a row about errors waits so long.
PATIENCE_SECONDS = 0.5


class Account:
    """An account at Klaviyo with people in it, and the two ways to it.

    All are on a list. Ada has placed orders, Bob has unsubscribed from the list, and Carol has
    consented to SMS.
    """

    def __init__(self, sandbox: Sandbox, redis_url: str, directory: Path) -> None:
        self.sandbox = sandbox
        settings = {"redis_url": redis_url, "namespace": directory.name}
        self.producer = Producer(Settings(spool_dir=directory, **settings))
        self.settings = WorkerSettings(
            api_url=sandbox.url, api_keys={"default": "pk_private"}, **settings
        )
        self._redis = connect(redis_url)
        self._planner = Planner(self._redis, self.settings)
        self.cast = {"klaviyo": self.producer, **people_in(sandbox)}
        client = client_of(sandbox)
        quota = Quota(self._redis, self.settings.keys)
        self.reader = Reader(Access(client, quota, "default", patience=PATIENCE_SECONDS))
        self.cast["reader"] = self.reader
        self.cast["metric_id"] = self.reader.metrics.id_of("Placed Order")
        self.cast["client"] = Klaviyo(producer=self.producer, reader=self.reader)

    def run(self, code: str) -> Any:
        """Run statements; gives what the last one gives."""
        *first, last = ast.parse(code).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(first, []), "<row>", "exec"), self.cast)  # noqa: S102 - ours
        return eval(compile(ast.Expression(last.value), "<row>", "eval"), self.cast)  # noqa: S307 - ours

    def deliver(self) -> None:
        """Until all commands are at Klaviyo; none may be refused there."""
        assert self.producer.flush(10).left == 0
        until = time.monotonic() + 20
        while self._work_left():
            assert time.monotonic() < until, self._report()
            for name in self._status.lanes():
                self._planner.deliver(*split(name))
        assert not any(lane["dead"] for lane in self._report().values()), self._report()

    def effects(self) -> Any:
        """All that Klaviyo knows, up to ids and to times that are now."""
        people = {one["id"]: one["email"] or one["anonymous_id"] for one in self.sandbox.profiles()}
        lists = {key: one["name"] for key, one in self.sandbox.summary()["lists"].items()}
        known = {
            "lists": sorted(lists.values()),
            "profiles": sorted(self.sandbox.profiles(), key=lambda one: people[one["id"]] or ""),
            "events": [
                {name: value for name, value in one.items() if name not in ("id", "time")}
                for one in self.sandbox.events()
            ],
        }
        return alike(known, {**people, **lists})

    def add_unsubscribed(self, number: int) -> None:
        """More people on the list, who have unsubscribed from it, a hundred a request."""
        people = [profile(email=f"p{n}@shop.io") for n in range(number)]
        newsletter = {"type": "list", "id": self.cast["list_id"]}
        on_list = {"lists": {"data": [newsletter]}}
        post(self.sandbox, "profile-bulk-import-job", people, on_list)
        withdrawn = {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}
        for one in people:
            one["attributes"]["subscriptions"] = withdrawn
        for at in range(0, number, 100):
            kind = "profile-subscription-bulk-delete-job"
            post(self.sandbox, kind, people[at : at + 100], {"list": {"data": newsletter}})

    def close(self) -> None:
        """End the planner and close the connections."""
        self.producer.close()
        self.reader.close()
        self._planner.close()
        self._redis.close()

    @property
    def _status(self) -> Status:
        return Status(self._redis, self.settings.keys)

    def _report(self) -> dict[str, dict[str, Any]]:
        accounts = self._status.report()["accounts"].values()
        return {name: lane for account in accounts for name, lane in account["lanes"].items()}

    def _work_left(self) -> bool:
        # A deletion that Klaviyo has accepted is looked at again after ten minutes.
        return any(
            one["backlog"] + one["following"] + one["parked"] * (name != "privacy")
            for name, one in self._report().items()
        )


def alike(value: Any, names: dict[str, str]) -> Any:
    """A value with names for ids, and one word for times of now and for ids of commands."""
    if isinstance(value, dict):
        return {names.get(key, key): alike(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [alike(one, names) for one in value]
    if isinstance(value, str):
        if re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", value):
            return "the command's id"
        try:
            age = time.time() - datetime.fromisoformat(value).timestamp()
        except ValueError:
            return names.get(value, value)
        return "now" if abs(age) < 600 else value
    return value


def people_in(sandbox: Sandbox) -> dict[str, Any]:
    """Fill an empty account; gives the names that the rows use."""
    sandbox.reset()
    list_id = sandbox.create_list("Newsletter")
    newsletter = {"type": "list", "id": list_id}
    about = {"title": "Countess", "properties": {"plan": "gold", "tags": ["a"]}}
    ada = profile(email=ADA, phone_number=PHONE, **about)
    people = [ada, profile(email=BOB), profile(email=CAROL, phone_number=HERS)]
    post(sandbox, "profile-bulk-import-job", people, {"lists": {"data": [newsletter]}})
    for kind, who, channel, consent in (
        ("delete", {"email": BOB}, "email", "UNSUBSCRIBED"),
        ("create", {"phone_number": HERS}, "sms", "SUBSCRIBED"),
    ):
        said = profile(**who, subscriptions={channel: {"marketing": {"consent": consent}}})
        on_list = {"list": {"data": newsletter}}
        post(sandbox, f"profile-subscription-bulk-{kind}-job", [said], on_list)
    sandbox.add_push_token(CAROL, "t-1")
    for offset, currency in ((-60, "USD"), (0, "USD"), (60, "EUR")):
        order(sandbox, TWO_HOURS_AGO + offset, value=70.0 + offset, value_currency=currency)
    ids = {one["email"]: one["id"] for one in sandbox.profiles()}
    moment = datetime.fromtimestamp(TWO_HOURS_AGO, UTC)
    return {
        "email": ADA,
        "phone": PHONE,
        "profile_id": ids[ADA],
        "newcomer": "grace@lovelace.dev",
        "list_id": list_id,
        "segment_id": sandbox.create_segment("VIP", ADA),
        "seconds": TWO_HOURS_AGO,
        "moment": moment,
        "timedelta": timedelta,
        "first_day": str(moment.date() - timedelta(days=1)),
        "last_day": str(moment.date() + timedelta(days=2)),
    }


def profile(**attributes: Any) -> dict[str, Any]:
    """As bodies have them."""
    return {"type": "profile", "attributes": attributes}


def order(sandbox: Sandbox, seconds: int, **attributes: Any) -> None:
    """An event of Ada's."""
    attributes["time"] = datetime.fromtimestamp(seconds, UTC).isoformat()
    attributes["unique_id"] = f"o{seconds}"
    attributes["metric"] = {"data": {"type": "metric", "attributes": {"name": "Placed Order"}}}
    attributes["profile"] = {"data": profile(email=ADA)}
    send(sandbox, {"type": "event", "attributes": {**attributes, "properties": {}}})


def post(sandbox: Sandbox, kind: str, people: list[Any], relationships: dict[str, Any]) -> None:
    """A job for some people."""
    attributes = {"profiles": {"data": people}}
    send(sandbox, {"type": kind, "attributes": attributes, "relationships": relationships})


def client_of(sandbox: Sandbox) -> KlaviyoClient:
    """Sends requests as a worker does."""
    return KlaviyoClient(sandbox.url, "pk_private", WorkerSettings().api_revision, 10)


def send(sandbox: Sandbox, data: dict[str, Any]) -> None:
    """Ask Klaviyo to make something."""
    path = f"/api/{data['type']}s"
    body = json.dumps({"data": data}).encode()
    client = client_of(sandbox)
    answer = client.send(Request(endpoint=f"POST {path}", path=path, body=body))
    client.close()
    assert answer.is_accepted, answer.body


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all rows: each half of a row begins with a reset."""
    with Sandbox(limits=False, import_delay_seconds=0.0) as started:
        yield started


@pytest.fixture
def account(
    sandbox: Sandbox, private_redis: PrivateRedis, tmp_path: Path
) -> Iterator[Callable[[], Account]]:
    """Makes fresh accounts; the one before ends with it."""
    made: list[Account] = []

    def make() -> Account:
        directory = tmp_path / f"{tmp_path.name[-20:]}-{len(made)}"
        made.append(Account(sandbox, private_redis.url, directory))
        return made[-1]

    yield make
    for one in made:
        one.close()
