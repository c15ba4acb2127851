"""The checkpoint: how far a load of a file has come, so that the next run need not read it again.

It is written after Redis has what it tells of, so it is behind Redis or level with it, never ahead.
What it is behind by is read again and ignored by the lanes, which keep the last row of each load
as their mark. A Redis that came back older than it was is found out by those marks.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.sources import DAY_SECONDS, MARK_SECONDS
from klaviyo_relay_worker.load.errors import LoadError

# A mark is pruned by the hour; a checkpoint is distrusted a good while before.
TRUSTED_SECONDS = MARK_SECONDS - DAY_SECONDS


class Position(Struct, frozen=True):
    """A place between two rows.

    Attributes:
        offset: bytes before it, of the file's content (after gunzip).
        row: rows before it.
        line: lines before it.
    """

    offset: int = 0
    row: int = 0
    line: int = 0


class Tally(Struct, frozen=True):
    """What was counted up to a position, in all runs of the load.

    Attributes:
        enqueued: commands that Redis has.
        refused: rows that became none.
        rejects_name: of the reject file, in its directory.
        rejects_bytes: its size.
    """

    enqueued: int = 0
    refused: int = 0
    rejects_name: str = ""
    rejects_bytes: int = 0


class Checkpoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a load has come.

    Attributes:
        content: digest of the file.
        source: the load's name in Redis.
        position, tally: see there.
        marks: lane -> the last row that Redis has.
        at: when Redis took the last row, seconds since 1970 by its clock.
        is_complete: the whole file is in Redis.
    """

    content: str
    source: str
    position: Position = Position()
    tally: Tally = Tally()
    marks: dict[str, int] = {}
    at: float = 0.0
    is_complete: bool = False

    def is_in_redis(self, entrance: LaneEntrance) -> bool:
        """Whether Redis still has all that this tells of."""
        return all(entrance.mark(lane, self.source) >= mark for lane, mark in self.marks.items())

    def is_trusted(self, now: float) -> bool:
        """Whether Redis would still have the marks, had nothing gone wrong."""
        return now - self.at < TRUSTED_SECONDS


class CheckpointFile:
    """Where a load's checkpoint is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Checkpoint | None:
        """The checkpoint, or None where there is none.

        Raises:
            LoadError: the file is something else.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Checkpoint)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            raise LoadError(
                f"{self.path} is no checkpoint: name another file with --checkpoint, or delete it"
            ) from None

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint: after a power cut there is the old one or the new one."""
        draft = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(draft, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(checkpoint))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise LoadError(
                f"cannot write {self.path} ({error.strerror}); name a place with --checkpoint"
            ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
