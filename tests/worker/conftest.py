"""What the tests of the worker share: entries, conversations with a made-up Klaviyo, planners."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import msgspec
import pytest
from redis import Redis

from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import Envelope, encode, receive
from klaviyo_relay.keys import Keys, split
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
        identity = f"00000000-0000-7000-8000-{number:012d}"
        envelope = Envelope(id=identity, account="default", at=int(at * 1000), command=command)
        message = encode(envelope)
        key = f"p:{identity}" if parked else f"{number}-0"
        return Entry(key, receive(message), len(message), attempts)

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
def until() -> Callable[..., Any]:
    """See wait_until."""
    return wait_until


class RawServer:
    """Accepts connections and hands each to `behave`, after the whole request was read."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self.received: list[bytes] = []
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while received := _whole_request(connection):
                self.received.append(received)
                self._behave(connection)

    def close(self) -> None:
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)


def _whole_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received or not _is_whole(received):
        more = connection.recv(65536)
        if not more:
            return b""
        received += more
    return received


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length or b"0")


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], RawServer]]:
    servers: list[RawServer] = []

    def start(behave: Callable[[socket.socket], None]) -> RawServer:
        servers.append(RawServer(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def keys() -> Keys:
    """The names of the keys under the default namespace."""
    return Keys()


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


@pytest.fixture
def tracks() -> Callable[..., Sequence[Command]]:
    """Many events of different people."""
    from klaviyo_relay import Track

    def make(number: int, **more: Any) -> list[Command]:
        return [
            Track(metric="Placed Order", email=f"p{at}@shop.io", **more) for at in range(number)
        ]

    return make
