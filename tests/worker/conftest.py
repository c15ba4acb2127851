"""What the tests of the worker share: entries, conversations with a made-up Klaviyo, planners."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from redis import Redis

from entries import entry_of
from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay.keys import split
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.lane import Lane, LaneState
from klaviyo_relay_worker.plan.batch import Batch, Entry, Ledger
from klaviyo_relay_worker.planner import Planner
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status
from klaviyo_relay_worker.telemetry.event import Telemetry
from raw_servers import Behaviour, RawServer
from waiting import wait_until

Klaviyo = Callable[[Request], Answer]
NOW = 1_800_000_000.0


class Talk:
    """Plain words for tests of the plan; nothing in it keeps any state but the next number."""

    now = NOW

    def __init__(self) -> None:
        self._numbers = count(1)

    def entry(
        self, command: Command, *, at: float = NOW, parked: bool = False, attempts: int = 0
    ) -> Entry:
        """A command as it stands in a lane, enqueued at `at` (seconds)."""
        number = next(self._numbers)
        return entry_of(command, number, at=at, is_parked=parked, attempts=attempts)

    def entries(self, *commands: Command, at: float = NOW) -> list[Entry]:
        """Several, in order."""
        return [self.entry(command, at=at) for command in commands]

    def converse(self, batch: Batch, klaviyo: Klaviyo) -> tuple[Ledger, list[Request]]:
        """Hold a batch's conversation to its end."""
        ledger, requests = Ledger(), []
        conversation = batch.converse(ledger)
        request = next(conversation, None)
        while request is not None:
            requests.append(request)
            try:
                request = conversation.send(klaviyo(request))
            except StopIteration:
                break
        return ledger, requests

    def answer(self, status: int = 202, document: Any = None) -> Answer:
        """What Klaviyo answers."""
        body = b"" if document is None else msgspec.json.encode(document)
        return Answer(status, {}, body)

    def refusal(self, *pointers: str, status: int = 400, detail: str = "is wrong") -> Answer:
        """A JSON:API error document with one error a pointer."""
        errors = [
            {
                "code": "invalid",
                "title": "Invalid input.",
                "detail": detail,
                "source": {"pointer": p},
            }
            for p in pointers
        ]
        return self.answer(status, {"errors": errors})

    def body(self, request: Request) -> Any:
        """The request's body."""
        return msgspec.json.decode(request.body or b"null")


@pytest.fixture
def talk() -> Talk:
    """See Talk."""
    return Talk()


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], RawServer]]:
    """Starts servers that send what the test wants, whatever HTTP says; see RawServer."""
    servers: list[RawServer] = []

    def start(behave: Behaviour) -> RawServer:
        servers.append(RawServer(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def heartbeats() -> Callable[[], list[threading.Thread]]:
    """The threads that renew leases, without those that earlier tests have left."""
    before = set(threading.enumerate())
    return lambda: [
        thread
        for thread in threading.enumerate()
        if thread.name == "klaviyo-relay-leases" and thread not in before
    ]


class House:
    """A planner in this process between a real Redis and a sandbox; the test plays the doorbell."""

    def __init__(self, relay: Settings, sandbox: Sandbox) -> None:
        self.redis: Redis = connect(relay.redis_url)
        self.relay, self.sandbox = relay, sandbox
        self.keys = relay.keys
        self.status = Status(self.redis, self.keys)
        self.letters = DeadLetters(self.redis, self.keys)
        self._planners: list[Planner] = []
        self._planner: Planner | None = None

    def make_planner(self, telemetry: Telemetry | None = None, **changes: Any) -> Planner:
        """One more planner, as another worker process would have."""
        given: dict[str, Any] = {
            "redis_url": self.relay.redis_url,
            "api_url": self.sandbox.url,
            "api_keys": {"default": "pk_test"},
        }
        made = Planner(self.redis, WorkerSettings(**{**given, **changes}), telemetry)
        self._planners.append(made)
        return made

    @property
    def planner(self) -> Planner:
        """The planner that works off."""
        if self._planner is None:
            self._planner = self.make_planner()
        return self._planner

    def listen(self, *listeners: Callable[[Any], None]) -> None:
        """Let these hear the events of the planner that works off."""
        self._planner = self.make_planner(Telemetry(*listeners))

    def enqueue(self, *commands: Command, bulk: bool = False) -> None:
        """Into the lanes, at once."""
        Producer(self.relay).enqueue_many(commands, bulk=bulk, timeout=10)

    def lanes(self) -> dict[str, Any]:
        """The numbers of all lanes."""
        accounts = self.status.report()["accounts"]
        return accounts["default"]["lanes"] if accounts else {}

    def numbers(self, lane: str) -> dict[str, int]:
        """Those numbers of a lane that are not 0."""
        wanted = ("delivered", "dead", "dropped", "discarded", "backlog", "parked", "following")
        found = self.lanes()[lane]
        return {name: found[name] for name in wanted if found[name]}

    def lane_state(self, lane: str) -> LaneState:
        """Why the lane waits, and what is noted of it."""
        return Lane(self.redis, self.keys, "default", lane).state()

    def is_at_rest(self) -> bool:
        """Nothing is left to be done."""
        return not any(
            lane["backlog"] + lane["parked"] + lane["following"] for lane in self.lanes().values()
        )

    def turn(self) -> None:
        """One turn at every lane."""
        for name in self.status.lanes():
            self.planner.deliver(*split(name))

    def work_off(self, seconds: float = 30.0) -> None:
        """Turns until all is done; AssertionError after `seconds`."""

        def is_done() -> bool:
            self.turn()
            return self.is_at_rest()

        try:
            wait_until(is_done, seconds)
        except AssertionError as error:
            error.add_note(self.what_is_left())
            raise
        assert self.status.report()["lost"] == 0

    def what_is_left(self) -> str:
        """Lanes that are not at rest, with what waits in them and why."""
        found = []
        for name in self.status.lanes():
            keys = self.keys.lane(*split(name))
            lane = self.status.lane(*split(name))
            if lane["backlog"] + lane["parked"] + lane["following"]:
                found += [f"{name} {lane}", f"  state {self.redis.hgetall(keys.state)!r}"]
                found += [f"  parked {one!r}" for one in self.redis.hgetall(keys.parked).items()]
                found.append(f"  due {self.redis.zrange(keys.due, 0, -1, withscores=True)!r}")
        return "\n".join([*found, f"now {time.time()}"])

    def dead(self) -> list[DeadLetter]:
        """All dead letters."""
        return list(self.letters.all(self.status.lanes()))

    def requests_to(self, endpoint: str) -> int:
        """Requests that the sandbox has seen, whatever it answered."""
        return sum(self.sandbox.summary()["requests"].get(endpoint, {}).values())

    def close(self) -> None:
        """End the planners and close all connections."""
        for planner in self._planners:
            planner.close()
        self.redis.close()


@pytest.fixture
def house_of(sandbox: Sandbox) -> Iterator[Callable[[Settings], House]]:
    """Makes houses over any Redis."""
    made: list[House] = []

    def make(relay: Settings) -> House:
        made.append(House(relay, sandbox))
        return made[-1]

    yield make
    for house in made:
        house.close()


@pytest.fixture
def house(house_of: Callable[[Settings], House], relay_settings: Settings) -> House:
    """See House."""
    return house_of(relay_settings)
