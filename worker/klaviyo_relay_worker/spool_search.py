"""Spool search: where a command stands in the spool files of this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from klaviyo_relay.envelope import receive
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.settings import Settings
from klaviyo_relay.spool import (
    LOCK_SUFFIX,
    Orphan,
    Row,
    SpoolLock,
    check_rows,
    salvage,
    spool_paths,
)
from klaviyo_relay_worker.dead_letters import verb_of
from klaviyo_relay_worker.explanation import InSpool

_PAGE = 1_000


def look(
    identity: str, settings: Settings, entrance: LaneEntrance | None, *, with_payload: bool
) -> Iterator[list[InSpool]]:
    """The rows that hold a command, file by file; a file without one gives an empty list.

    Args:
        identity: the command's id.
        settings: where the files are, and of which Redis.
        entrance: tells how far each file is shipped; None where Redis does not answer.
        with_payload: give the command itself, too.

    Raises:
        redis.RedisError: the entrance does not answer any more.
    """
    head = b'{"id":' + msgspec.json.encode(identity)
    for path in spool_paths(settings.spool_directory, settings.digest):
        lock = SpoolLock.take(path.with_suffix(LOCK_SUFFIX))
        # As a spool file names itself towards Redis.
        source = path.stem.rpartition("-")[2]
        places = []
        for number, lane, message in rows_of(path, lock):
            if message.startswith(head):
                envelope = receive(message)
                place = InSpool(
                    lane=lane,
                    verb=verb_of(envelope),
                    since=envelope.enqueued_at,
                    payload=msgspec.Raw(message) if with_payload else None,
                    file=path.name,
                    row=number,
                    is_shipped=None if entrance is None else number <= entrance.mark(lane, source),
                    is_orphaned=lock is not None,
                )
                places.append(place)
        yield places


def rows_of(path: Path, lock: SpoolLock | None) -> Iterator[Row]:
    """All rows of a spool file, or what a damaged one still gives; gives back the lock."""
    try:
        yield from _read(path, lock)
    except (sqlite3.DatabaseError, UnicodeError):
        yield from salvage(path).rows


def _read(path: Path, lock: SpoolLock | None) -> Iterator[Row]:
    try:
        spool = Orphan(path, lock)
    except sqlite3.DatabaseError:
        if lock is not None:
            lock.release()
        raise
    try:
        after = 0
        while rows := spool.spool.read(after, _PAGE):
            check_rows(rows, after)
            yield from rows
            after = rows[-1][0]
    finally:
        spool.close()
