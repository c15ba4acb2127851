"""Real processes for the end-to-end tests, each ended by its id; and accounts with people in them."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay.keys import split
from klaviyo_relay.lane_entrance import connect
from klaviyo_relay.legacy import Klaviyo
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.planner import Planner
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status

SCRIPT = Path(sys.executable).with_name("klaviyo-relay")
KEY = "pk_e2e_secret_0123456789"
READY = " ready."


def wait_until(is_so: Callable[[], Any], seconds: float = 20.0, what: Any = "") -> Any:
    """What `is_so` returns as soon as that is true; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not (found := is_so()):
        if time.monotonic() > until:
            raise AssertionError(f"not so within {seconds} s {what() if callable(what) else what}")
        time.sleep(0.02)
    return found


@pytest.fixture
def until() -> Callable[..., Any]:
    """See wait_until."""
    return wait_until


class Worker:
    """A worker process and its log."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def says(self, text: str, seconds: float = 30.0) -> None:
        """Wait until it has said this; AssertionError if it ends before."""

        def has_said() -> bool:
            is_over = self.process.poll() is not None
            if text in self.log():
                return True
            assert not is_over, f"it ended with {self.process.returncode}:\n{self.log()}"
            return False

        wait_until(has_said, seconds, self.log)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)


class Site:
    """A Redis, a sandbox, and whatever processes a test starts around them."""

    def __init__(self, redis_url: str, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox, self.directory = sandbox, directory
        self.settings = Settings(redis_url=redis_url, spool_dir=directory / "spool")
        self.redis: Redis = connect(redis_url)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name in ("PATH", "HOME", "LANG")
            },
            **{n: v for n, v in os.environ.items() if n.startswith(("COVERAGE", "PYTHON"))},
            "KLAVIYO_RELAY_REDIS_URL": redis_url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(self.settings.spool_dir),
            "KLAVIYO_API_URL": sandbox.url,
            "KLAVIYO_API_KEY": KEY,
        }
        self._workers: list[Worker] = []

    def worker(
        self, *arguments: str, command: list[str] | None = None, is_ready: bool = True, **more: str
    ) -> Worker:
        """Start a worker, and wait until it is ready."""
        log = self.directory / f"worker{len(self._workers)}.log"
        command = command or [sys.executable, "-m", "klaviyo_relay_worker", "worker"]
        self._workers.append(Worker([*command, *arguments], {**self.environment, **more}, log))
        if is_ready:
            self._workers[-1].says(READY)
        return self._workers[-1]

    def run(self, *arguments: str, **more: str | None) -> subprocess.CompletedProcess[str]:
        """Run the console script."""
        environment = {**self.environment, **more}
        return subprocess.run(
            [SCRIPT, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={name: value for name, value in environment.items() if value is not None},
        )

    def enqueue(self, *commands: Command, bulk: bool = False) -> None:
        """Into the lanes, at once."""
        Producer(self.settings).enqueue_many(commands, bulk=bulk, timeout=10)

    def report(self) -> dict[str, Any]:
        """As `klaviyo-relay status` has it."""
        return Status(self.redis, self.settings.keys).report()

    def lane(self, name: str) -> dict[str, Any]:
        """The numbers of a lane of the default account."""
        return self.report()["accounts"].get("default", {"lanes": {}})["lanes"].get(name, {})

    def dead(self) -> list[DeadLetter]:
        """All dead letters."""
        lanes = Status(self.redis, self.settings.keys).lanes()
        return list(DeadLetters(self.redis, self.settings.keys).all(lanes))

    def is_at_rest(self) -> bool:
        """Something was accepted, and nothing is left to be done."""
        lanes = [one for a in self.report()["accounts"].values() for one in a["lanes"].values()]
        return bool(lanes) and not any(
            one["backlog"] + one["parked"] + one["following"] for one in lanes
        )

    def wait_for_rest(self, seconds: float = 30.0) -> None:
        """Until all is done; nothing may be lost."""
        wait_until(self.is_at_rest, seconds, self.logs)
        assert self.report()["lost"] == 0

    def logs(self) -> str:
        """What all workers have said."""
        return "\n".join(worker.log() for worker in self._workers)

    def close(self) -> None:
        """End what still runs."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.kill()
        self.redis.close()


@pytest.fixture
def site(redis_url: str, sandbox: Sandbox, tmp_path: Path) -> Iterator[Site]:
    """See Site."""
    made = Site(redis_url, sandbox, tmp_path)
    yield made
    made.close()


@pytest.fixture
def site_of(sandbox: Sandbox, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Makes a site around a Redis of the test's own."""
    made: list[Site] = []

    def make(redis_url: str) -> Site:
        made.append(Site(redis_url, sandbox, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def tracks() -> Callable[[int], list[Command]]:
    """Many events of different people."""
    from klaviyo_relay import Track

    return lambda number: [
        Track(metric="Placed Order", email=f"p{at}@shop.io") for at in range(number)
    ]


# --- for docs/migrating.md ------------------------------------------------------------------------

ADA, BOB, GRACE = "ada@lovelace.dev", "bob@lovelace.dev", "grace@lovelace.dev"
PHONE = "+15005550006"
TWO_HOURS_AGO = int(time.time()) - 7_200


class Account:
    """An account at Klaviyo with people in it, and the two ways to it.

    Ada and Bob are on a list, Bob has unsubscribed from it, and Ada has placed orders.
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
        self.cast["client"] = Klaviyo("PUBLIC", "pk_private", producer=self.producer)

    def run(self, code: str) -> Any:
        """Run statements; gives what the last one gives."""
        *first, last = ast.parse(code).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(first, []), "<row>", "exec"), self.cast)  # noqa: S102 - ours
        return eval(compile(ast.Expression(last.value), "<row>", "eval"), self.cast)  # noqa: S307

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

    def close(self) -> None:
        """Close the connections and end the senders."""
        self.producer.close()
        self._planner._executor.shutdown()
        for client in self._planner.accounts._clients.values():
            client.close()
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
    seconds = TWO_HOURS_AGO
    ada = {"email": ADA, "phone_number": PHONE, "title": "Countess"}
    ada["properties"] = {"plan": "gold", "tags": ["a"]}
    on_list = {"lists": {"data": [{"type": "list", "id": list_id}]}}
    imported = {"profiles": {"data": [profile(**ada), profile(email=BOB)]}}
    post(sandbox, "profile-bulk-import-job", imported, on_list)
    withdrawn = {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}
    unsubscribed = {"profiles": {"data": [profile(email=BOB, subscriptions=withdrawn)]}}
    from_list = {"list": {"data": {"type": "list", "id": list_id}}}
    post(sandbox, "profile-subscription-bulk-delete-job", unsubscribed, from_list)
    for offset in (-60, 0, 60):
        post(sandbox, "event", order(seconds + offset, 70.0 + offset))
    [profile_id] = [one["id"] for one in sandbox.profiles() if one["email"] == ADA]
    return {
        "email": ADA,
        "phone": PHONE,
        "profile_id": profile_id,
        "newcomer": GRACE,
        "list_id": list_id,
        "seconds": seconds,
        "moment": datetime.fromtimestamp(seconds, UTC),
    }


def profile(**attributes: Any) -> dict[str, Any]:
    return {"type": "profile", "attributes": attributes}


def order(seconds: int, value: float) -> dict[str, Any]:
    """An event of Ada's; on a path of its own, since several may not be alike."""
    metric = {"type": "metric", "attributes": {"name": "Placed Order"}}
    at = datetime.fromtimestamp(seconds, UTC).isoformat()
    known = {"metric": {"data": metric}, "profile": {"data": profile(email=ADA)}}
    return {**known, "time": at, "value": value, "properties": {}, "unique_id": f"o{seconds}"}


def post(sandbox: Sandbox, kind: str, attributes: Any, relationships: Any = None) -> None:
    """As Klaviyo is asked to make something."""
    data = {"type": kind, "attributes": attributes, "relationships": relationships or {}}
    if not relationships:
        del data["relationships"]
    client = KlaviyoClient(sandbox.url, "pk_private", WorkerSettings().api_revision, 10)
    request = Request(
        endpoint=f"POST /api/{kind}s",
        path=f"/api/{kind}s",
        body=json.dumps({"data": data}).encode(),
    )
    answer = client.send(request)
    client.close()
    assert answer.is_accepted, answer.body


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
