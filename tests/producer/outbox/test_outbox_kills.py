"""Relays that die: at each step in this process, and by kill -9 at random moments."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy.orm import Session

from klaviyo_relay import Settings
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.outbox import shipper
from klaviyo_relay.outbox.shipper import Shipment

ADA = "ada@lovelace.dev"
LANES = ("events", "profiles")


class Killed(BaseException):
    """Not an Exception: nothing may catch it and go on."""


class Fragile:
    """Something whose calls are counted, and that dies before or after the one it is told."""

    def __init__(self, inner, budget):
        self._inner = inner
        self._budget = budget

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        def call(*arguments):
            self._budget.spend()
            answer = method(*arguments)
            self._budget.spend()
            return answer

        return call


class Budget:
    def __init__(self, steps):
        self.left = steps

    def spend(self):
        if self.left == 0:
            raise Killed
        self.left -= 1


def committed(engine, transactions):
    """Commit transactions of one to three commands in both lanes; returns the ids of each."""
    made = []
    for number in range(transactions):
        with engine.begin() as connection:
            made.append(
                [
                    (
                        outbox.track(connection, "M", email=ADA)
                        if (number + at) % 3
                        else outbox.identify(connection, email=ADA, first_name="Ada")
                    )
                    for at in range(1 + number % 3)
                ]
            )
    return made


def check_exactly_once_and_in_order(lanes, transactions):
    found = {lane: lanes.ids(lane) for lane in LANES}
    lane_of = {each: lane for lane, ids in found.items() for each in ids}
    assert len(lane_of) == sum(map(len, found.values()))
    place = {each: at for ids in found.values() for at, each in enumerate(ids)}
    expected = [each for ids in transactions for each in ids]
    assert sorted(place) == sorted(expected)
    for ids in transactions:
        for lane in LANES:
            own = [each for each in ids if lane_of[each] == lane]
            assert sorted(own, key=place.__getitem__) == own


def test_a_relay_that_dies_before_or_after_any_step_loses_and_doubles_nothing(
    sqlite_engine, redis, lanes, monkeypatch
):
    monkeypatch.setattr(shipper, "BATCH_ROWS", 2)
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", -1.0)
    store = SqlAlchemyStore(sqlite_engine)
    entrance = LaneEntrance(redis, Settings().keys, 10**9)
    transactions, steps = [], 0
    while True:
        transactions += committed(sqlite_engine, 3)
        assert store.take(f"relay-{steps}", store.state().beat)
        budget = Budget(steps)
        try:
            shipment = Shipment(
                Fragile(store, budget),
                Fragile(entrance, budget),
                f"relay-{steps}",
                {name.decode() for name in redis.smembers(Settings().keys.register)},
            )
            while shipment.step():
                pass
        except Killed:
            steps += 1
            continue
        break

    assert steps > 30
    check_exactly_once_and_in_order(lanes, transactions)
    assert store.newest() == {}
    assert not store.has_new()


class Relays:
    """Relays as real processes."""

    def __init__(self, url, redis_url):
        self._arguments = [sys.executable, "-W", "error", "-m", "klaviyo_relay.outbox", url]
        self._environment = {**os.environ, "KLAVIYO_RELAY_REDIS_URL": redis_url}
        self.running = []

    def start(self, lease=10.0):
        process = subprocess.Popen(
            [*self._arguments, "--poll", "0.01", "--lease", str(lease)], env=self._environment
        )
        self.running.append(process)
        return process

    def kill_all(self):
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()


@pytest.fixture
def relays(database_url, redis_url, engine):
    made = Relays(database_url, redis_url)
    yield made
    made.kill_all()


class Application:
    """A thread that commits and rolls back transactions until it is stopped."""

    def __init__(self, engine, seed):
        self._engine = engine
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self.transactions = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.001):
            with Session(self._engine) as session:
                ids = [
                    (
                        outbox.track(session, "M", email=ADA)
                        if self._random.random() < 0.7
                        else outbox.identify(session, email=ADA, first_name="Ada")
                    )
                    for _ in range(self._random.randint(1, 4))
                ]
                if self._random.random() < 0.2:
                    session.rollback()
                    continue
                session.commit()
            self.transactions.append(ids)

    def stop(self):
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("relays_at_once", [1, 2])
def test_kill_minus_nine_at_random_moments_loses_and_doubles_nothing(
    engine, relays, lanes, wait_until, relays_at_once
):
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    chance = random.Random(seed)
    application = Application(engine, seed)
    try:
        for _ in range(5):
            began = sum(lanes.length(lane) for lane in LANES)
            for _ in range(relays_at_once):
                relays.start(lease=0.01)
            wait_until(lambda began=began: sum(map(lanes.length, LANES)) > began)
            # The moment of the kill is what is tested; nothing waits for this.
            time.sleep(chance.uniform(0, 0.1))
            relays.kill_all()
    finally:
        application.stop()
    expected = sum(map(len, application.transactions))
    relays.start(lease=0.01)
    wait_until(lambda: sum(map(lanes.length, LANES)) >= expected)
    relays.kill_all()

    check_exactly_once_and_in_order(lanes, application.transactions)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_that_is_told_to_end_does_so_and_gives_the_lease_back(
    engine, relays, lanes, wait_until, how
):
    process = relays.start()
    committed(engine, 4)
    wait_until(lambda: sum(map(lanes.length, LANES)) == 7)

    process.send_signal(how)

    assert process.wait(10) == 0
    assert SqlAlchemyStore(engine).state().holder is None


def program(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KLAVIYO_")}
    return subprocess.run(
        [sys.executable, "-m", "klaviyo_relay.outbox", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {}, "KLAVIYO_RELAY_OUTBOX_URL"),
        (["nonsense"], {}, "URL"),
        (["sqlite://"], {"KLAVIYO_RELAY_REDIS_URL": "http://x"}, "KLAVIYO_RELAY_REDIS_URL"),
        (["sqlite://", "--poll", "0"], {}, "above 0"),
        (["sqlite:////nowhere/x.db", "--create-tables"], {}, "unable to open"),
    ],
    ids=["no URL", "no such URL", "settings", "poll", "no database"],
)
def test_wrong_usage_ends_with_two_and_says_why(arguments, environment, said):
    ended = program(*arguments, **environment)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_url_may_come_from_the_environment_and_the_tables_from_the_command(
    redis_url, lanes, bare_engine, database_url, wait_until
):
    environment = {
        **os.environ,
        "KLAVIYO_RELAY_REDIS_URL": redis_url,
        "KLAVIYO_RELAY_OUTBOX_URL": database_url,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "klaviyo_relay.outbox", "--create-tables"], env=environment
    )
    try:
        store = SqlAlchemyStore(bare_engine)
        wait_until(lambda: has_tables(bare_engine) and store.state().holder)
        transactions = committed(bare_engine, 2)
        wait_until(lambda: sum(map(lanes.length, LANES)) == 3)
    finally:
        process.terminate()
        assert process.wait(10) == 0
    check_exactly_once_and_in_order(lanes, transactions)


def has_tables(engine):
    from sqlalchemy import inspect

    return inspect(engine).has_table("klaviyo_relay_outbox_state")


def test_the_base_install_needs_neither_sqlalchemy_nor_django():
    code = (
        "import sys, klaviyo_relay, klaviyo_relay.outbox, klaviyo_relay.outbox.process\n"
        "import klaviyo_relay.contrib, klaviyo_relay.legacy\n"
        "print([n for n in ('sqlalchemy', 'django', 'redis') if n in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == "[]"
