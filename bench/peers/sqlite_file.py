"""SQLite alone: a committed insert of klaviyo-relay's envelope, set up as its spool is (WAL)."""

from __future__ import annotations

import sqlite3

from bench.order import envelope
from bench.peers.peer import Caller, Peer, Place


def _open(place: Place) -> sqlite3.Connection:
    place.path.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(place.path / "bench.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, body BLOB)")
    return database


def _caller(place: Place) -> Caller:
    database, body = _open(place), envelope()
    return Caller(
        lambda: database.execute("INSERT INTO orders (body) VALUES (?)", (body,)), database.close
    )


def _arrived(place: Place) -> int:
    database = _open(place)
    found = int(database.execute("SELECT count(*) FROM orders").fetchone()[0])
    database.close()
    return found


PEER = Peer(
    name="sqlite",
    title="bare SQLite, INSERT",
    caller=_caller,
    module="sqlite3",
    imports="import sqlite3",
    arrived=_arrived,
)
