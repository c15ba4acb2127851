"""Files to which the sandbox appends what must outlive it: a JSON document a line.

A line is with the operating system before the answer goes out, so a killed sandbox loses none; a
machine that loses power may.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .arrangements import Arranging
from .settings import Settings


class Processed(msgspec.Struct, frozen=True, kw_only=True, tag="processed"):
    """A call that changed the account, with the instant (epoch seconds) at which it did."""

    at: float
    method: str
    path: str
    query: dict[str, tuple[str, ...]] = {}
    revision: str
    body: str


class Turned(msgspec.Struct, frozen=True, kw_only=True, tag="turned"):
    """Settings that were put in force."""

    at: float
    settings: Settings


class Reset(msgspec.Struct, frozen=True, kw_only=True, tag="reset"):
    """The account was emptied."""

    at: float


class Arranged(msgspec.Struct, frozen=True, kw_only=True, tag="arranged"):
    """What a test arranged, with the instant (epoch seconds) at which it did."""

    at: float
    what: Arranging


Line = Processed | Turned | Reset | Arranged
_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


class Recording:
    """Appends documents to a file. The store's lock guards it."""

    def __init__(self, path: Path) -> None:
        """Append to `path`; a last line that was cut off is taken away first."""
        self._file = path.open("ab", buffering=0)
        whole = _whole_bytes(path)
        if whole < path.stat().st_size:
            os.truncate(path, whole)

    def note(self, document: object) -> None:
        """Append one document."""
        self._file.write(_encode(document) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def lines(path: Path) -> Iterator[Line]:
    """What was recorded, without a last line that was cut off."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield _decode(line)


def _whole_bytes(path: Path) -> int:
    """How long the file is up to the end of its last whole line."""
    with path.open("rb") as file:
        return file.read().rfind(b"\n") + 1
