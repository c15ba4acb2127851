"""An application with an outbox, and the relays that ship it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from redis import Redis
from sqlalchemy import Engine, func, select

from klaviyo_relay import Settings
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.outbox import OutboxStore
from klaviyo_relay.outbox.shipper import Shipment

ADA = "ada@lovelace.dev"
LANES = ("events", "profiles")


def rows_in(engine: Engine) -> int:
    """How many commands stand in the table."""
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(outbox._rows)).scalar_one()


def tracked(engine: Engine, values: Iterable[float]) -> list[str]:
    """Commit one transaction with a track for each value; returns the ids."""
    with engine.begin() as connection:
        return [outbox.track(connection, "M", email=ADA, value=value) for value in values]


def committed(engine: Engine, transactions: int) -> list[list[str]]:
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


class Relays:
    """Relays as real processes."""

    def __init__(self, url: str, redis_url: str) -> None:
        self._arguments = [sys.executable, "-W", "error", "-m", "klaviyo_relay.outbox", url]
        self._environment = {**os.environ, "KLAVIYO_RELAY_REDIS_URL": redis_url}
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, lease: float = 10.0) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*self._arguments, "--poll", "0.01", "--lease", str(lease)], env=self._environment
        )
        self.running.append(process)
        return process

    def kill_all(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()


def check_exactly_once_and_in_order(lanes: Any, transactions: list[list[str]]) -> None:
    """Every committed command is in its lane once, those of a transaction in their order."""
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


def shipment_of(
    store: OutboxStore, redis: Redis, holder: str = "me", lanes: Iterable[str] = ()
) -> Shipment:
    """What a relay that has the lease knows when it begins."""
    if store.state().holder != holder:
        store.take(holder, store.state().beat)
    return Shipment(store, LaneEntrance(redis, Settings().keys, 10**9), holder, lanes)
