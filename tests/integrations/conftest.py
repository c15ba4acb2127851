"""Applications under their real servers, and a Redis that may be stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from redis import Redis

from environment import environment_of
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from programs import SCRIPT
from tree import REPOSITORY
from waiting import wait_until

EXAMPLES = REPOSITORY / "examples"
GUNICORN = [sys.executable, "-m", "gunicorn", "--workers=2", "--preload", "--bind=127.0.0.1:0"]
STREAM = "kr:{default:events}:stream"


class Answer(NamedTuple):
    """What the server said: status 0 where it said nothing."""

    number: str
    status: int
    body: dict[str, Any]


class App:
    """One example application, as a real process."""

    def __init__(self, name: str, folder: Path, redis_url: str, more: dict[str, str]) -> None:
        self.name = name
        self.folder = folder
        self.spool = folder / "spool"
        self.log = folder / "server.log"
        self.redis_url = redis_url
        self.environment = {
            **environment_of(),
            **ENVIRONMENTS[name](folder, redis_url),
            **more,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def manage(self, *arguments: str) -> str:
        """What `manage.py` says; for Django."""
        command = [sys.executable, "-W", "error", "manage.py", *arguments]
        ran = subprocess.run(
            command, cwd=EXAMPLES / "django", env=self.environment, timeout=60, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return ran.stdout

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                COMMANDS[self.name], cwd=EXAMPLES / self.name, env=self.environment,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.url = wait_until(self._said_url, what=f"{self.name} listens")

    def _said_url(self) -> str:
        said = self.log.read_text()
        assert self.process is not None
        assert self.process.poll() is None, said
        found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", said)
        return found[0] if found else ""

    def order(self, number: str, path: str = "orders", **more: str) -> Answer:
        order = {"number": number, "email": f"{number}@example.com", "total": "23.99", **more}
        form = {"json": order} if self.name == "fastapi" else {"data": order}
        try:
            said = requests.post(f"{self.url}/{path}", timeout=30, **form)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return Answer(number, 0, {})
        is_json = said.headers["Content-Type"].startswith("application/json")
        return Answer(number, said.status_code, said.json() if is_json else {})

    def orders(self, many: int, prefix: str = "n", **more: str) -> list[Answer]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda n: self.order(f"{prefix}{n}", **more), range(many)))

    def terminate(self) -> int:
        """SIGTERM to the server (for gunicorn: the arbiter); its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(40)

    def kill(self) -> None:
        """End the server and whatever it started."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
                return
        # The group is empty unless an arbiter died before its workers.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def flush_spool(self) -> str:
        """`klaviyo-relay spool flush`, as a person would after a crash."""
        environment = {
            **self.environment,
            "KLAVIYO_RELAY_REDIS_URL": self.redis_url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(self.spool),
        }
        ran = subprocess.run(
            [SCRIPT, "spool", "flush"], env=environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


def _django(folder: Path, redis_url: str) -> dict[str, str]:
    return {"SHOP_DATA": str(folder), "SHOP_REDIS_URL": redis_url}


def _flask(folder: Path, redis_url: str) -> dict[str, str]:
    return {
        "FLASK_KLAVIYO_RELAY_REDIS_URL": redis_url,
        "FLASK_KLAVIYO_RELAY_SPOOL_DIR": str(folder / "spool"),
    }


def _fastapi(folder: Path, redis_url: str) -> dict[str, str]:
    return {
        "KLAVIYO_RELAY_REDIS_URL": redis_url,
        "KLAVIYO_RELAY_SPOOL_DIR": str(folder / "spool"),
    }


ENVIRONMENTS = {"django": _django, "flask": _flask, "fastapi": _fastapi}
COMMANDS = {
    "django": [*GUNICORN, "shop.wsgi"],
    "flask": [*GUNICORN, "shop:create_app()"],
    "fastapi": [sys.executable, "-m", "uvicorn", "shop:app", "--host=127.0.0.1", "--port=0"],
}


class Lane:
    """The lane of events, as it stands in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def numbers(self) -> list[str]:
        """The number of the order of each event."""
        return [found["command"]["properties"]["number"] for found in self.envelopes()]

    def ids(self) -> list[str]:
        return [found["id"] for found in self.envelopes()]

    def envelopes(self) -> list[dict[str, Any]]:
        return [json.loads(fields[b"e"]) for _, fields in self._redis.xrange(STREAM)]

    def wait_for(self, accepted: list[Answer]) -> None:
        """Each accepted order's command, once, and nothing else."""
        ids = Counter(answer.body["id"] for answer in accepted)
        assert set(ids.values()) <= {1}
        wait_until(lambda: len(self.ids()) >= len(ids), what=f"{len(ids)} events in Redis")
        assert Counter(self.ids()) == ids
        assert Counter(self.numbers()) == Counter(answer.number for answer in accepted)


@pytest.fixture
def lane(own_redis: PrivateRedis) -> Iterator[Lane]:
    with connect(own_redis.url) as client:
        yield Lane(client)


@pytest.fixture
def app_of(own_redis: PrivateRedis, tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Start an example, with more environment if need be; it is gone at the end of the test."""
    started: list[App] = []

    def start(name: str, **more: str) -> App:
        app = App(name, tmp_path, own_redis.url, more)
        started.append(app)
        if name == "django":
            app.manage("migrate", "--verbosity=0")
        app.start()
        return app

    yield start
    for app in started:
        app.kill()
