"""Spool search: where a command stands in the spool files of this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from klaviyo_relay.envelope import receive
from klaviyo_relay.found_spool import FoundSpool, locked
from klaviyo_relay.marks import Marks
from klaviyo_relay.salvage import check_rows, salvage
from klaviyo_relay.settings import Settings
from klaviyo_relay.spool import Row, SpoolLock, source_of, spool_paths
from klaviyo_relay_worker.dead_letters import verb_of
from klaviyo_relay_worker.explanation import InSpool

_PAGE = 1_000


def look(
    identity: str, settings: Settings, marks: Marks | None, *, with_payload: bool
) -> Iterator[list[InSpool] | None]:
    """The rows that hold a command, file by file; a file without one gives an empty list.

    None stands for a file that may not be opened, since another user's process has made it.

    Args:
        identity: the command's id.
        settings: where the files are, and of which Redis.
        marks: tell how far each file is shipped; None where Redis does not answer.
        with_payload: give the command itself, too.

    Raises:
        redis.RedisError: Redis does not answer any more.
    """
    head = b'{"id":' + msgspec.json.encode(identity)
    for path in spool_paths(settings.spool_directory, settings.digest):
        try:
            with locked(path) as lock:
                rows = [row for row in _rows(path, lock) if row[2].startswith(head)]
        except OSError:
            yield None
            continue
        is_orphaned = lock is not None
        yield [
            _place(path, row, marks, is_orphaned=is_orphaned, with_payload=with_payload)
            for row in rows
        ]


def _rows(path: Path, lock: SpoolLock | None) -> Iterator[Row]:
    """All rows of a spool file, or what a damaged one still gives."""
    after = 0
    # Gone is what somebody else has shipped and removed, or set aside, meanwhile.
    with suppress(FileNotFoundError):
        try:
            with closing(FoundSpool(path, lock)) as found:
                while rows := found.spool.read(after, _PAGE):
                    check_rows(rows, after)
                    yield from rows
                    after = rows[-1][0]
        except (sqlite3.DatabaseError, UnicodeError):
            yield from (row for row in salvage(path).rows if row[0] > after)


def _place(
    path: Path, row: Row, marks: Marks | None, *, is_orphaned: bool, with_payload: bool
) -> InSpool:
    number, lane, message = row
    envelope = receive(message)
    return InSpool(
        lane=lane,
        verb=verb_of(envelope),
        since=envelope.enqueued_at,
        payload=msgspec.Raw(message) if with_payload else None,
        file=path.name,
        row=number,
        is_shipped=None if marks is None else number <= marks.mark(lane, source_of(path)),
        is_orphaned=is_orphaned,
    )
