"""Spool files that dead processes have left, and the order of what came out of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from klaviyo_relay import Identify, Producer, Settings, Track
from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.spool import OwnSpool, milliseconds

ADA = "ada@lovelace.dev"
# Of the files of some application.
DIGEST = "0a1b2c3d"
EVENTS, PROFILES = "default:events", "default:profiles"


def envelope(command: Command | None = None, at: int = 0) -> bytes:
    """A command as a row holds it."""
    command = command or Track(metric="M", email=ADA)
    return encode(Envelope(id=new_id(), account="default", at=at, command=command))


def left_behind(
    settings: Settings, *lanes: str, at: int | None = None, name: str | None = None
) -> Path:
    """The spool file of a process that is dead, with a row for each lane."""
    at = milliseconds() if at is None else at
    spool = OwnSpool.create(settings.spool_directory, name or settings.digest)
    for lane in lanes:
        command = Track(metric="M", email=ADA) if lane == EVENTS else Identify(email=ADA)
        spool.append([(lane, at, envelope(command))])
    spool.close()
    return spool.path


def closed_to_us(path: Path) -> Path:
    """Make a spool file that this process may not open, be it root, whom no mode stops."""
    lock = path.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    return path


def in_order(entries: Iterable[Any]) -> bool:
    """Whether the rows of each source stand in their order, none of them twice."""
    of_source: dict[str, list[int]] = {}
    for entry in entries:
        source, _, number = entry.origin.partition(":")
        of_source.setdefault(source, []).append(int(number))
    return all(a < b for numbers in of_source.values() for a, b in pairwise(numbers))


def spool_of(producer: Producer) -> Any:
    """This process's own, while one is open; else None."""
    opened = producer._spooling._opened
    return None if opened is None else opened.spool


def shipper_of(producer: Producer) -> Any:
    """The thread that ships it."""
    opened = producer._spooling._opened
    return None if opened is None else opened.shipper
