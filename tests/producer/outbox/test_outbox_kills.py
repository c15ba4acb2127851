# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name
"""The shipper, its lease and its process under kills: at each step, and at random moments."""

import random
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
from outboxes import ADA, LANES, check_exactly_once_and_in_order, committed


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


def test_a_relay_that_dies_before_or_after_any_step_loses_and_doubles_nothing(
    sqlite_engine, redis, lanes, monkeypatch
):
    monkeypatch.setattr(shipper, "BATCH_COMMANDS", 2)
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


class Application:
    """A thread that commits and rolls back transactions until it is stopped."""

    def __init__(self, engine, chance):
        self._engine = engine
        self._random = random.Random(chance.random())
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
    engine, relays, lanes, until, chance, relays_at_once
):
    application = Application(engine, chance)
    try:
        for _ in range(5):
            began = sum(lanes.length(lane) for lane in LANES)
            for _ in range(relays_at_once):
                relays.start(lease=0.01)
            until(lambda began=began: sum(map(lanes.length, LANES)) > began)
            # The moment of the kill is what is tested; nothing waits for this.
            time.sleep(chance.uniform(0, 0.1))
            relays.kill_all()
    finally:
        application.stop()
    expected = sum(map(len, application.transactions))
    relays.start(lease=0.01)
    until(lambda: sum(map(lanes.length, LANES)) >= expected)
    relays.kill_all()

    check_exactly_once_and_in_order(lanes, application.transactions)
