"""A real dashboard on a real Redis: served by uvicorn in a thread, asked over HTTP."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from redis import Redis

from klaviyo_relay import Producer, Settings, Track
from klaviyo_relay.keys import split
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.dashboard.app import create_app, listen, server_of
from klaviyo_relay_worker.dashboard.binding import Binding
from klaviyo_relay_worker.dashboard.groups import Heads, groups_of
from klaviyo_relay_worker.dead_letters import DeadLetters
from klaviyo_relay_worker.outcome import Dead, Delivered, Failure
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status
from settled_lanes import SettledLane
from waiting import wait_until

WHY = Failure(
    status=400,
    code="invalid",
    title="Invalid input.",
    detail="Invalid email address: ada@lovelace.dev",
    pointer="/data/attributes/profiles/data/17/attributes/email",
)


class Dashboard:
    """A dashboard that runs."""

    def __init__(self, redis_url: str, binding: Binding) -> None:
        self._socket = listen(binding)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._server = server_of(create_app(WorkerSettings(redis_url=redis_url), binding))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        wait_until(lambda: self._server.started)
        self.browser = requests.Session()

    def get(self, path: str = "/", **headers: str) -> requests.Response:
        """Ask for a page."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.browser.get(self.url + path, headers=named, timeout=20, allow_redirects=False)

    def post(
        self, path: str, fields: dict[str, Any] | None = None, /, **headers: str
    ) -> requests.Response:
        """Send a form as it is given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.browser.post(
            self.url + path, data=fields or {}, headers=named, timeout=30, allow_redirects=False
        )

    def form_token(self) -> str:
        """The token that our pages' forms carry."""
        page = self.get("/confirm?what=pause&account=default").text
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', page)
        assert found, page
        return found[1]

    def send(self, path: str, **fields: Any) -> requests.Response:
        """Send a form as our own page would."""
        return self.post(path, {"form_token": self.form_token(), **fields})

    def confirmed(self, **choice: str) -> tuple[str, requests.Response]:
        """Ask, and say yes: the text of the question, and the answer to the form."""
        page = self.get("/confirm?" + "&".join(f"{n}={v}" for n, v in choice.items())).text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        action = re.findall(r'action="/(\w+)"', page)[-1]
        fields = {name: html.unescape(value) for name, value in fields.items()}
        return page, self.post(f"/{action}", fields)

    def close(self) -> None:
        """End it."""
        self.browser.close()
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()


@pytest.fixture
def dashboard_of() -> Iterator[Callable[..., Dashboard]]:
    """Starts dashboards over any Redis."""
    made: list[Dashboard] = []

    def start(redis_url: str, **binding: Any) -> Dashboard:
        made.append(Dashboard(redis_url, Binding(port=0, **binding)))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def dashboard(dashboard_of: Callable[..., Dashboard], redis_url: str) -> Dashboard:
    """One on loopback, without a token."""
    return dashboard_of(redis_url)


class Stock:
    """Commands in a Redis, in whatever state a test needs."""

    def __init__(self, relay: Settings) -> None:
        self.redis: Redis = connect(relay.redis_url)
        self.relay, self.keys = relay, relay.keys
        self.letters = DeadLetters(self.redis, self.keys)

    def wait(self, number: int = 1, lane: str = "events", **more: Any) -> None:
        """Commands in the backlog of a lane of the default account."""
        commands = [Track(metric="M", email=f"p{n}@shop.io", **more) for n in range(number)]
        producer = Producer(self.relay)
        producer.enqueue_many(commands, bulk=lane.endswith(":bulk"), timeout=30)
        producer.close()

    def settle(self, outcome: Any, lane: str = "events") -> list[str]:
        """Give everything in the backlog an outcome; returns the ids."""
        with SettledLane(self.redis, self.keys, lane) as held:
            return held.settle(outcome)

    def die(self, number: int = 1, failure: Failure = WHY, **more: Any) -> list[str]:
        """Dead letters of one cause; returns their ids."""
        self.wait(number, **more)
        return self.settle(Dead(failure))

    def group_of(self, code: str = "invalid", lane: str = "default:events") -> str:
        """The name of the group of dead letters with this code."""
        heads = Heads(self.redis, self.keys).scan(lane, 100_000)
        return next(one.cause.name for one in groups_of(heads) if one.cause.code == code)

    def deliver(self, number: int = 1) -> None:
        """Delivered commands."""
        self.wait(number)
        self.settle(Delivered())

    def numbers(self, lane: str = "events") -> dict[str, int]:
        """Those numbers of a lane that are not 0."""
        found = Status(self.redis, self.keys).lane("default", lane)
        wanted = ("delivered", "dead", "discarded", "backlog", "lost", "surplus")
        return {name: found[name] for name in wanted if found[name]}

    def is_paused(self, name: str = "default:events") -> bool:
        """Whether nothing of a lane is delivered."""
        return bool(Status(self.redis, self.keys).lane(*split(name))["paused"])


@pytest.fixture
def stock(relay_settings: Settings) -> Iterator[Stock]:
    """See Stock."""
    made = Stock(relay_settings)
    yield made
    made.redis.close()
